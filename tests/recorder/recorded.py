"""A core that is recorded while it handles what a test gives it."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from msgspec import structs

from bridge.conventions.convention import Convention
from bridge.core.effects import Effect, SendRequest
from bridge.core.events import (
    CloudResponse,
    MqttConnected,
    MqttMessage,
    ObservationsReceived,
    Started,
    StoreOpened,
    StreamOpened,
    Tick,
)
from bridge.core.messages import AckToken
from bridge.core.records.moment import Timestamp
from bridge.core.records.observation import RawObservation
from bridge.recorder.recording import UNPACKED_BYTES, Recorder
from bridge.recorder.replaying import Record, new_core
from bridge.settings import EaseeSettings, MqttSettings, PublishSettings, Secret, Settings
from tests.conftest import NOON

ONE, TWO = "EH123456", "EH234567"
TAG, STREET, PHONE = "04CANARY5A6B80", "Canary Lane 4713", "+4712345674713"
SECRET = b"the salt of this installation..."
VERSION = "1.0.0"
SITE = {
    "siteId": 471147,
    "name": STREET,
    "address": {"street": STREET, "zip": "4713"},
    "installer": {"phone": PHONE},
}


def settings_of(**publish) -> Settings:
    """Return a configuration with something of everybody's in it."""
    return Settings(
        EaseeSettings("jane.canary@example.com", Secret("canary-password"), (ONE, TWO)),
        MqttSettings(host="canaryhost.lan", client_id="canaryclient", username="canaryuser"),
        PublishSettings(**publish),
    )


def said(number: int, value: object, *, second: int = 0, charger: str = ONE) -> RawObservation:
    """Return an observation as the stream has it."""
    stamp = (NOON + timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return RawObservation(charger, number, None, value, stamp)


def command(name: str, payload: object, *, number: int = 1) -> MqttMessage:
    """Return a message to a ``set/`` topic."""
    body = json.dumps(payload).encode()
    return MqttMessage(f"charger/{ONE}/set/{name}", body, AckToken(1, number, 1))


class Recorded:
    """A core, its recorder and its clock.

    Attributes:
        effects: Of each event.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        max_bytes: int = 8 * 1024 * 1024,
        unpacked_bytes: int = UNPACKED_BYTES,
        conventions: Sequence[Convention] = (),
    ):
        self.settings = settings or settings_of()
        self.empty = Record(self.settings, VERSION, SECRET, [], [])
        self.core = new_core(self.empty)
        self.now = Timestamp(NOON, 1000.0)
        self.recorder = Recorder(
            self.core,
            max_bytes=max_bytes,
            read_s=lambda: self.now.mono_s,
            unpacked_bytes=unpacked_bytes,
            conventions=conventions,
        )
        self.watched = self.recorder.watched(conventions)
        self.effects = []
        self.turn()

    def turn(self) -> None:
        """Let the recorder copy what it wants to."""
        while self.recorder.is_copying(self.now.mono_s):
            pass

    def moved(self, effects: list[Effect]) -> None:
        """Have conventions handle effects."""

    def handle(self, *events, after_s: float = 1.0) -> None:
        """Handle events, some time apart, as the loop does."""
        for event in events:
            self.now = structs.replace(
                self.now,
                wall=self.now.wall + timedelta(seconds=after_s),
                mono_s=self.now.mono_s + after_s,
            )
            self.turn()
            effects = self.core.handle(event, self.now)
            self.recorder.handled(event, self.now, effects)
            self.effects.append(effects)
            self.moved(effects)
            self.core.deadline_s()
            self.recorder.asked()
            for effect in effects:
                if isinstance(effect, SendRequest) and (body := self.body_of(effect)) is not None:
                    self.handle(CloudResponse(effect.tag, 200, json.dumps(body).encode()))

    def body_of(self, effect: SendRequest) -> object:
        """Return what the cloud answers, or None."""
        if effect.tag.owner == "charger_list":
            return [{"id": ONE}, {"id": TWO}]
        return None

    def live(self) -> None:
        """Go through a short life with something of everybody's in it."""
        self.handle(StoreOpened(()), Started(), MqttConnected(False, "5", 20), StreamOpened())
        self.handle(
            ObservationsReceived((said(109, "3"), said(120, "7.2"), said(128, TAG))),
            ObservationsReceived((said(20, json.dumps(SITE)), said(109, "2", charger=TWO))),
            command("start", {"value": True, "id": "canary-command"}),
            ObservationsReceived((said(109, "2", second=-60),)),
            Tick(),
        )

    def record(self) -> Record:
        """Return what is recorded, not redacted."""
        excerpt = self.recorder.excerpt()
        return replace(self.empty, state=excerpt.states(), entries=excerpt.entries())
