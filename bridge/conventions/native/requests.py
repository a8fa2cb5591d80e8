"""Converts requests of other conventions into native messages."""

import msgspec
from msgspec.structs import replace

from bridge.core.events import MqttMessage
from bridge.core.requests import (
    IncomingCommand,
    IncomingQuery,
    IncomingRequest,
    ReplayRequest,
    ReportAck,
)
from bridge.core.topics import Topics
from bridge.core.value_format import iso_utc


def native_message(request: IncomingRequest, message: MqttMessage, topics: Topics) -> MqttMessage:
    """Return the message by which the native convention would ask for the same.

    Args:
        request: What is asked.
        message: That it was read from; everything else about it stays.
        topics: The native topic tree.
    """
    match request:
        case IncomingCommand(charger_id, command, payload):
            return replace(message, topic=topics.command(charger_id, command), payload=payload)
        case IncomingQuery(charger_id, query, payload):
            return replace(message, topic=topics.query(charger_id, query), payload=payload)
        case ReportAck(key, revision):
            facts = {"key": key} if revision is None else {"key": key, "revision": revision}
            payload = msgspec.json.encode(facts)
            return replace(message, topic=topics.session_ack, payload=payload)
        case ReplayRequest(since, charger_id):
            wanted = {"since": since and iso_utc(since), "charger": charger_id}
            payload = msgspec.json.encode({name: one for name, one in wanted.items() if one})
            return replace(message, topic=topics.session_replay, payload=payload)
