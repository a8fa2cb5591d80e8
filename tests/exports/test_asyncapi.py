"""The AsyncAPI document: every message in its channel, every reference to something."""

import gzip
import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from bridge.core.topics import Topics
from bridge.exports.asyncapi import asyncapi_document, asyncapi_yaml
from bridge.exports.message_schemas import messages

TOPICS = Topics("home/garage")
OFFICIAL = Path(__file__).parents[1] / "data" / "asyncapi" / "3.0.0.json.gz"
JUDGE = jsonschema.Draft7Validator(json.loads(gzip.decompress(OFFICIAL.read_bytes())))


def references(part):
    """List every reference in a document."""
    if isinstance(part, dict):
        for key, value in part.items():
            if key == "$ref":
                yield value
            else:
                yield from references(value)
    elif isinstance(part, list):
        for value in part:
            yield from references(value)


def test_every_message_has_channel_operation_and_schema():
    """The document describes each row of the table once, under the configured base."""
    document = asyncapi_document(TOPICS)

    for message in messages(TOPICS):
        channel = document["channels"][message.name]
        assert channel["address"] == message.address
        assert channel["address"].startswith("home/garage/")
        wanted = "send" if message.published else "receive"
        assert document["operations"][message.name]["action"] == wanted
        assert document["components"]["messages"][message.name]["payload"] == message.schema


def test_every_reference_leads_somewhere():
    """Nothing points at what is not in the document."""
    document = asyncapi_document(TOPICS)

    for reference in references(document):
        found = document
        for level in reference.removeprefix("#/").split("/"):
            found = found[level]
        assert found


def test_parameters_are_those_of_the_address():
    """Each level in braces is described, and no other."""
    for channel in asyncapi_document(TOPICS)["channels"].values():
        for name in channel.get("parameters", {}):
            assert f"{{{name}}}" in channel["address"]
        assert channel["address"].count("{") == len(channel.get("parameters", {}))


def test_commands_and_queries_are_answered():
    """Who sends one finds in the document where the answer comes."""
    operations = asyncapi_document(TOPICS)["operations"]

    assert operations["set_start"]["reply"] == {"channel": {"$ref": "#/channels/result"}}
    assert "reply" not in operations["session_ack"]


@pytest.mark.parametrize("base", ["charger", "home/garage/charger"])
def test_the_official_schema_takes_the_text(base):
    """What a user gets is an AsyncAPI 3.0 document by the standard's own JSON Schema."""
    document = yaml.safe_load(asyncapi_yaml(Topics(base)))

    assert [problem.message[:200] for problem in JUDGE.iter_errors(document)] == []


@pytest.mark.parametrize(
    ("part", "key", "wrong"),
    [
        ("operations", "action", "shout"),
        ("channels", "address", 7),
        ("channels", "adress", "charger"),
        ("operations", "channel", "#/channels/set_start"),
    ],
)
def test_the_official_schema_finds_a_mistake(part, key, wrong):
    """A word, a type, a key or a reference that is not in the standard is refused."""
    document = yaml.safe_load(asyncapi_yaml(TOPICS))
    document[part]["set_start"][key] = wrong

    assert not JUDGE.is_valid(document)


def test_the_text_is_the_document():
    """The YAML reads back as what was written, without anchors."""
    text = asyncapi_yaml(TOPICS)

    assert yaml.safe_load(text) == asyncapi_document(TOPICS)
    assert "&id" not in text
