"""AsyncAPI 3 document of a configuration."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import yaml

import bridge
from bridge.core.topics import Topics
from bridge.exports.message_schemas import DEFAULT_MAX_CURRENT_A, Message, messages, parameter

_PARAMETER: Final = re.compile(r"\{(\w+)\}")
_ABOUT: Final = (
    "Observations of Easee chargers as topics, commands as topics, one final answer each. Every"
    " message has QoS 1."
)


class _Plain(yaml.SafeDumper):
    """Writes every piece where it stands: anchors are hard to read and some readers have none."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the library's signature
        return True


def asyncapi_document(
    topics: Topics, max_current_a: int = DEFAULT_MAX_CURRENT_A
) -> dict[str, object]:
    """Describe one topic tree as AsyncAPI 3.

    Args:
        topics: The tree.
        max_current_a: ``commands.max_current_a``.
    """
    all_of_them = messages(topics, max_current_a)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "charger-bridge",
            "version": bridge.__version__,
            "description": _ABOUT,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {message.name: _channel(message) for message in all_of_them},
        "operations": {message.name: _operation(message) for message in all_of_them},
        "components": {"messages": {message.name: _message(message) for message in all_of_them}},
    }


def asyncapi_yaml(topics: Topics, max_current_a: int = DEFAULT_MAX_CURRENT_A) -> str:
    """Write the document as YAML, without a line end after it.

    Args:
        topics: The tree.
        max_current_a: ``commands.max_current_a``.
    """
    document = asyncapi_document(topics, max_current_a)
    text = yaml.dump(document, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=100)
    return text.rstrip("\n")


def _channel(message: Message) -> Mapping[str, object]:
    channel: dict[str, object] = {"address": message.address, "description": message.summary}
    found = _PARAMETER.findall(message.address)
    if found:
        channel["parameters"] = {name: _parameter(name, message.names) for name in found}
    reference = {"$ref": f"#/components/messages/{message.name}"}
    return {**channel, "messages": {message.name: reference}}


def _parameter(name: str, names: Iterable[str]) -> Mapping[str, object]:
    known = list(names) if name == "name" else []
    if not known:
        return parameter(name)
    # Not an enum: an unknown observation is published as observation_<id>.
    return {**parameter(name), "examples": known}


def _operation(message: Message) -> Mapping[str, object]:
    operation: dict[str, object] = {
        "action": "send" if message.published else "receive",
        "channel": {"$ref": f"#/channels/{message.name}"},
        "summary": message.summary,
        "bindings": {"mqtt": {"qos": 1, "retain": message.retained}},
    }
    if message.name.startswith(("set_", "get_")):
        operation["reply"] = {"channel": {"$ref": "#/channels/result"}}
    return operation


def _message(message: Message) -> Mapping[str, object]:
    return {
        "name": message.name,
        "summary": message.summary,
        "contentType": message.media,
        "payload": message.schema,
    }
