"""Results of commands and queries as messages.

Rules:

1. A result goes to the fixed result topic (for MQTT 3.1.1 callers), and to the caller's Response
   Topic where that is one that may be published to.
2. Correlation Data goes back byte for byte, on the Response Topic.
3. The names come from outside where a request was refused: what is no topic level gets no result
   topic.
"""

import msgspec

from bridge.core.changes import CommandAnswered
from bridge.core.commands.results import result_document
from bridge.core.messages import Publish
from bridge.core.topics import Topics, is_addressee, is_topic_level
from bridge.core.value_format import json_document


class ResultMessages:
    """Makes the messages on ``<base>/<id>/result/<command>`` and on Response Topics.

    Args:
        topics: The topic tree.
    """

    def __init__(self, topics: Topics) -> None:
        self._topics = topics

    def answered(self, change: CommandAnswered) -> list[Publish]:
        """Return the messages for each of the callers, in order."""
        charger_id, command = change.charger_id, change.result.command
        document = result_document(change.result)
        if change.value is not None:
            document = b'%b,"value":%b}' % (document[:-1], json_document(change.value))
        messages = []
        has_topic = is_addressee(charger_id) and is_topic_level(command)
        for caller in change.reply_to:
            if has_topic:
                topic = self._topics.result(charger_id, command)
                messages.append(Publish(topic, document, retained=False))
            if caller.response_topic is not None:
                reply = Publish(
                    caller.response_topic,
                    document,
                    retained=False,
                    correlation=caller.correlation,
                )
                messages.append(reply)
        if not change.tag:
            return messages
        parts = len(messages)
        return [
            msgspec.structs.replace(
                message, tag=f"{change.tag}:{number}", owner=change.owner, parts=parts
            )
            for number, message in enumerate(messages)
        ]
