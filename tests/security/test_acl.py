"""The generated access list at a real mosquitto: who may publish, who hears, what takes effect."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bridge.core.topics import Topics
from bridge.exports.mosquitto_acl import AUTOMATION, BRIDGE, READER, mosquitto_acl
from bridge.settings import CommandSettings, EaseeSettings, MqttSettings, Secret, Settings
from bridge.simulator.scenario import Scenario
from bridge.simulator.server import serve
from tests.acceptance.conftest import configuration, running
from tests.mosquitto import Mosquitto, Outsider, outsider, until

pytestmark = [pytest.mark.anyio, pytest.mark.broker]

NOT_AUTHORIZED = 135
SUCCESS = (0, 16)
ALLOW = ("start", "stop", "current")
SETTINGS = Settings(
    EaseeSettings("x@example.com", Secret("p"), ("EH000001",)),
    MqttSettings(host="127.0.0.1", reply_prefixes=("answers/",)),
    commands=CommandSettings(allow=ALLOW),
)
STRANGER = "stranger"
USERS = (BRIDGE, AUTOMATION, READER, STRANGER)
SHOWN = frozenset({AUTOMATION, READER})
# Each topic: who may publish to it, who hears it.
MATRIX = {
    "charger/bridge/state": ({BRIDGE}, SHOWN | {BRIDGE}),
    "charger/bridge/cloud": ({BRIDGE}, SHOWN),
    "charger/bridge/info": ({BRIDGE}, SHOWN | {BRIDGE}),
    "charger/bridge/health": ({BRIDGE}, SHOWN),
    "charger/bridge/heartbeat": ({BRIDGE}, SHOWN | {BRIDGE}),
    "charger/bridge/alert/storage": ({BRIDGE}, SHOWN | {BRIDGE}),
    "charger/bridge/alert/session_unreadable/EH000001": ({BRIDGE}, SHOWN | {BRIDGE}),
    "charger/EH000001/availability": ({BRIDGE}, SHOWN | {BRIDGE}),
    "charger/EH000001/observation/total_power": ({BRIDGE}, SHOWN),
    "charger/EH000001/state/op_mode": ({BRIDGE}, SHOWN),
    "charger/EH000001/observation/site_structure": ({BRIDGE}, SHOWN | {BRIDGE}),
    "charger/EH000001/state/site_structure": ({BRIDGE}, SHOWN | {BRIDGE}),
    "charger/EH000001/event/error": ({BRIDGE}, SHOWN),
    "charger/EH000001/session/current": ({BRIDGE}, SHOWN),
    "charger/EH000001/session/last": ({BRIDGE}, SHOWN),
    "charger/EH000001/session/report": ({BRIDGE}, SHOWN),
    "charger/EH000001/result/start": ({BRIDGE}, SHOWN),
    "charger/reply/me": ({BRIDGE}, {AUTOMATION}),
    "answers/me/2": ({BRIDGE}, {AUTOMATION}),
    "charger/EH000001/set/start": ({AUTOMATION, BRIDGE}, {BRIDGE}),
    "charger/EH000001/set/dynamic_charger_current": ({AUTOMATION, BRIDGE}, {BRIDGE}),
    "charger/EH000001/set/reboot": ({BRIDGE}, {BRIDGE}),
    "charger/EH000001/set/max_charger_current": ({BRIDGE}, {BRIDGE}),
    "charger/EH000002/set/start": ({BRIDGE}, {BRIDGE}),
    "charger/EH000001/get/observations": ({AUTOMATION}, {BRIDGE}),
    "charger/EH000001/schedule/current": ({BRIDGE}, SHOWN),
    "charger/EH000001/observation/energy_total": ({BRIDGE}, SHOWN | {BRIDGE}),
    "charger/EH000001/state/energy_total": ({BRIDGE}, SHOWN | {BRIDGE}),
    "charger/QP000001/set/surplus_charging": ({BRIDGE}, {BRIDGE}),
    "charger/site/8001/info": ({BRIDGE}, SHOWN),
    "charger/site/8001/circuit/8101/state/rated_current": ({BRIDGE}, SHOWN),
    "charger/site/8001/result/site_price": ({BRIDGE}, SHOWN),
    "charger/site/8001/set/site_price": ({BRIDGE}, {BRIDGE}),
    "charger/site/8001/get/site": ({AUTOMATION}, {BRIDGE}),
    "charger/bridge/session/ack": ({AUTOMATION}, {BRIDGE}),
    "charger/bridge/session/replay": ({AUTOMATION}, {BRIDGE}),
    "charger/bridge/forget": ({AUTOMATION}, {BRIDGE}),
    "charger/EH000001/set": (set(), set()),
    "charger/other": (set(), set()),
    "other/EH000001/set/start": (set(), set()),
}
ROOT = "root"


def guarded(folder: Path, port: int, acl: str) -> Mosquitto:
    """Make a broker that believes names and obeys an access list, with one user for everything."""
    path = folder / "acl"
    path.write_text(f"{acl}\n\nuser {ROOT}\ntopic readwrite #\n")
    path.chmod(0o600)
    return Mosquitto(folder, port, listener=(f"acl_file {path}",))


@pytest.fixture
def broker(tmp_path, free_port) -> Iterator[Mosquitto]:
    """A broker with the access list of a narrow configuration."""
    broker = guarded(tmp_path, free_port, mosquitto_acl(SETTINGS))
    broker.start()
    yield broker
    broker.kill()


@contextlib.contextmanager
def everybody(port: int) -> Iterator[dict[str, Outsider]]:
    """Connect one client of each user; all subscribe to everything, and are granted it."""
    with contextlib.ExitStack() as stack:
        yield {
            user: stack.enter_context(outsider(port, "#", username=user)) for user in (*USERS, ROOT)
        }


async def test_the_matrix_of_users_and_topics_holds(broker):
    """Whoever may publish is acknowledged, who may not gets 135; who may hear hears, no other."""
    with everybody(broker.port) as clients:
        for user in USERS:
            for topic, (writers, _) in MATRIX.items():
                clients[user].publish(topic, user.encode())
                code = clients[user].codes[-1]
                assert (code in SUCCESS) if user in writers else code == NOT_AUTHORIZED, (
                    user,
                    topic,
                    code,
                )
        for topic in MATRIX:
            clients[ROOT].publish(topic, b"root")
        clients[ROOT].publish("charger/bridge/state", b"the end")
        await until(
            lambda: all(
                b"the end" in clients[user].payloads("charger/bridge/state")
                for user in (BRIDGE, AUTOMATION, READER, ROOT)
            )
        )

        for topic, (writers, hearers) in MATRIX.items():
            sent = {user.encode() for user in writers} | {b"root"}
            assert set(clients[ROOT].payloads(topic)) - {b"the end"} == sent, topic
            for user in USERS:
                heard = set(clients[user].payloads(topic)) - {b"the end"}
                assert heard == (sent if user in hearers else set()), (user, topic)


def test_every_kind_of_topic_is_in_the_matrix():
    """What the bridge publishes and listens to is tried: a new topic must be added above."""
    topics = Topics(SETTINGS.mqtt.base_topic)
    filters = (*topics.publications, *topics.subscriptions, *topics.echoes)

    def covers(pattern: str, topic: str) -> bool:
        levels, names = pattern.split("/"), topic.split("/")
        return len(levels) == len(names) and all(
            level in ("+", name) for level, name in zip(levels, names, strict=True)
        )

    assert [one for one in filters if not any(covers(one, topic) for topic in MATRIX)] == []


async def test_the_bridge_runs_with_its_rights_and_only_automation_commands(tmp_path, free_port):
    """A gateway at this broker is refused nothing; the reader's command never reaches the cloud."""
    settings = replace(SETTINGS, mqtt=replace(SETTINGS.mqtt, username=BRIDGE))
    broker = guarded(tmp_path, free_port, mosquitto_acl(settings))
    broker.start()
    result, command = "charger/EH000001/result/start", "charger/EH000001/set/start"
    try:
        async with serve(Scenario(chargers=1, traffic=False, authorization_required=True)) as cloud:
            config = configuration(cloud.api_url, cloud.stream_url, broker.port, tmp_path)
            config["easee"]["chargers"] = ["EH000001"]
            config["commands"]["allow"] = list(ALLOW)
            config["mqtt"] |= {"username": BRIDGE, "reply_prefixes": ["answers"]}
            environ = {"CHARGER_BRIDGE_MQTT__PASSWORD": "broker-password"}
            with everybody(broker.port) as clients:
                async with running(config, tmp_path, **environ):
                    await until(
                        lambda: (
                            clients[READER].payloads("charger/EH000001/availability")[-1:]
                            == [b"online"]
                        )
                    )
                    clients[READER].publish(command, b"PRESS")
                    assert clients[READER].codes[-1] == NOT_AUTHORIZED
                    clients[AUTOMATION].publish(command, b"PRESS", ResponseTopic="answers/me")
                    await until(lambda: clients[AUTOMATION].payloads("answers/me"))
                    await until(
                        lambda: any(
                            json.loads(p)["final"] for p in clients[READER].payloads(result)
                        )
                    )
                refused = [
                    name
                    for name, payload, _ in clients[ROOT].messages
                    if name.endswith("alert/publication_refused") and payload
                ]
                finals = [p for p in clients[READER].payloads(result) if json.loads(p)["final"]]
    finally:
        broker.kill()

    assert refused == []
    assert len(finals) == 1
