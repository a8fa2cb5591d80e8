"""What the gateway makes of observation 777 and of the command ``night_light``, as JSON.

A program for ``test_added_rows.py``, which runs it on a copy of the package with these two rows.
"""

import json
import sys
from dataclasses import asdict

import bridge
from bridge.conventions.homeassistant.entities import entities
from bridge.core.easee.decode import decode
from bridge.core.effects import SendRequest
from bridge.core.events import (
    CloudResponse,
    MqttConnected,
    MqttMessage,
    Started,
    StoreOpened,
    StreamOpened,
)
from bridge.core.messages import AckToken, Publish
from bridge.core.records.observation import RawObservation
from bridge.core.topics import Topics
from bridge.exports.asyncapi import asyncapi_document
from bridge.exports.message_schemas import messages
from bridge.exports.mosquitto_acl import mosquitto_acl
from bridge.exports.openhab import channels
from bridge.exports.tag_list import tags
from bridge.exports.topic_reference import topic_reference
from bridge.settings import CommandSettings
from tests.core.test_composition import ONE, World

NUMBER, NAME, COMMAND = 777, "night_light", "night_light"
TOPICS = Topics("charger")


def observed() -> dict[str, object]:
    """Return what is decoded and published of the observation."""
    raw = RawObservation(ONE, NUMBER, None, "true", "2026-11-22T12:00:00Z")
    world = started()
    world.observe(NUMBER, "true")
    return {
        "decoded": decode(raw).value,
        "published": {
            topic: payload.decode()
            for topic, payload in world.published().items()
            if topic.endswith(f"/{NAME}")
        },
    }


def described() -> dict[str, object]:
    """Return what is said of both to Home Assistant, openHAB, brokers and people."""
    settings = World(ONE).settings
    kinds = {one.name: one for one in messages(TOPICS)}
    return {
        "home_assistant": entities_about((COMMAND,)),
        "home_assistant_without_command": entities_about(()),
        "openhab": [asdict(one) for one in channels(settings, ONE) if one.id == NAME],
        "tags": [asdict(one) for one in tags(settings) if NAME in one.tag],
        "schema": kinds["observation"].schema,
        "names": list(kinds["state"].names),
        "command_schema": kinds[f"set_{COMMAND}"].schema,
        "asyncapi": asyncapi_document(TOPICS),
        "acl": mosquitto_acl(settings).splitlines(),
        "reference": topic_reference(TOPICS).splitlines(),
    }


def entities_about(allow: tuple[str, ...]) -> dict[str, object]:
    """Return the entities that read or set the observation, by key."""
    found = entities(ONE, TOPICS, CommandSettings(allow=allow))
    return {one.key: dict(one.config) for one in found if one.key.endswith(f"_{NAME}")}


def commanded() -> dict[str, object]:
    """Return the request of the command, and its results up to the reflecting observation."""
    world = started()
    world.observe(NUMBER, "false")
    world.seconds += 10.0
    told = []
    world.take(MqttMessage(TOPICS.command(ONE, COMMAND), b"on", AckToken(1, 5, 1)))
    told += results(world)
    calls = (effect for effect in world.out if isinstance(effect, SendRequest))
    (call,) = (effect for effect in calls if effect.tag.owner == "commands")
    answer = json.dumps({"device": ONE, "commandId": 0, "ticks": 638000000000000000}).encode()
    world.take(CloudResponse(call.tag, 202, answer))
    told += results(world)
    world.seconds += 1.0
    world.observe(NUMBER, "true")
    told += results(world)
    request = call.request
    body = None if request.body is None else json.loads(request.body)
    return {"request": [request.method, request.path, body], "results": told}


def started() -> World:
    """Return a core with one charger, connected to everything."""
    world = World(ONE)
    world.take(StoreOpened(()), Started(), StreamOpened(), MqttConnected(False, "5", 20))
    return world


def results(world: World) -> list[str]:
    """Return the states that were told of the command."""
    topic = TOPICS.result(ONE, COMMAND)
    told = (one for one in world.out if isinstance(one, Publish) and one.topic == topic)
    return [json.loads(one.payload)["state"] for one in told]


if __name__ == "__main__":
    facts = {"package": bridge.__file__, **observed(), **described(), **commanded()}
    json.dump(facts, sys.stdout)
