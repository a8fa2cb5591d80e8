"""A journal on simulated time, with a store and a broker, for the tests of its parts."""

import itertools
import json
from dataclasses import dataclass, field
from datetime import timedelta

from bridge.core.commands.service import CommandService
from bridge.core.domain_events import CommandFinished, UnmatchedResponse
from bridge.core.easee.decode import Observation, spec_of
from bridge.core.effects import LogEntry, SaveCommand, SendRequest
from bridge.core.events import (
    ChargerResponse,
    CloudFailed,
    CloudResponse,
    CommandSaved,
    CommandSaveFailed,
    MqttMessage,
    ObservationsReceived,
)
from bridge.core.messages import AckToken, Publish
from bridge.core.records.moment import Timestamp
from bridge.core.topics import SetTopic, Topics
from bridge.errors import StoreError
from bridge.settings import CommandSettings
from tests.conftest import NOON
from tests.native import as_messages

ID, OTHER = "EH123456", "EH999999"
TICKS = 639086870099692230
EVERYTHING = ("control", "access", "current", "device", "installer", "maintenance", "schedule")
SITE = json.dumps(
    {"id": 7, "circuits": [{"id": 9, "siteId": 7, "chargers": [{"id": ID}, {"id": OTHER}]}]}
).encode()


def ticket(ticks=TICKS, command_id=25):
    """The cloud's answer to a command that it took."""
    return b'{"device":"EH123456","commandId":%d,"ticks":%d}' % (command_id, ticks)


@dataclass
class Bench:
    """A journal on simulated time, with a store, and everything it asked for.

    Attributes:
        disk: ``ok`` commits at once, ``fails`` says no at once, ``hangs`` says nothing.
        rows: What is committed, by key.
        acks: The broker acknowledges answers.
    """

    allow: tuple = EVERYTHING
    known: tuple = (ID, OTHER)
    mono_s: float = 1000.0
    jump_s: float = 0.0
    trusted: bool = True
    effects: list = field(default_factory=list)
    read: list = field(default_factory=list)
    foreign: list = field(default_factory=list)
    disk: str = "ok"
    acks: bool = True
    rows: dict = field(default_factory=dict)
    pending: list = field(default_factory=list)
    flash_writes_per_day: int = 10
    uses_exchange: bool = False

    def __post_init__(self):
        self.packets = itertools.count(1)
        self.begin()

    def begin(self):
        """Start a journal, as a new process does."""
        settings = CommandSettings(allow=self.allow, flash_writes_per_day=self.flash_writes_per_day)
        self.journal = CommandService(
            Topics("charger"), settings, self.known, uses_exchange=self.uses_exchange
        )
        self.pending.clear()
        self.journal.connected(self.now, session_present=False)
        self.journal.stream(self.now, is_up=True)

    def restart(self):
        """Crash, and go on with what is on disk."""
        self.begin()
        return self.take(self.journal.opened(tuple(self.rows.values()), self.now))

    def _effect(self, output):
        """Take a domain event as other components do; it is a note among the effects then."""
        match output:
            case ObservationsReceived():
                self.read.append(output)
                return LogEntry("debug", "test.observed")
            case UnmatchedResponse(response):
                self.foreign.append(response)
                return LogEntry("info", "test.foreign", {"command_id": response.command_id})
            case _:
                return output

    @property
    def now(self):
        wall = NOON + timedelta(seconds=self.mono_s - 1000.0 + self.jump_s)
        return Timestamp(wall, self.mono_s, self.trusted)

    def take(self, effects):
        """Carry effects out as the store and the broker would; return all that followed."""
        new = [
            self._effect(one)
            for one in as_messages(effects)
            if not isinstance(one, CommandFinished)
        ]
        self.effects += new
        for effect in tuple(new):
            if isinstance(effect, SaveCommand):
                self.pending.append(effect.row)
                if self.disk != "hangs":
                    new += self.commit()
            elif isinstance(effect, Publish) and effect.tag and self.acks:
                self.journal.acked(effect, self.now)
        return new

    def commit(self):
        """Let the store answer the oldest write."""
        row = self.pending.pop(0)
        if self.disk == "fails":
            error = StoreError("no space", hint="free some")
            return self.take(self.journal.not_saved(CommandSaveFailed(row.key, error), self.now))
        self.rows[row.key] = row
        return self.take(self.journal.saved(CommandSaved(row.key, row.state), self.now))

    def send(self, command="start", payload=b"PRESS", charger_id=ID, packet=None, **facts):
        ack_token = AckToken(1, next(self.packets) if packet is None else packet, 1)
        topic = f"charger/{charger_id}/set/{command}"
        message = MqttMessage(topic, payload, ack_token, **facts)
        target = SetTopic(charger_id, command)
        return self.take(self.journal.receive(message, target, self.known, self.now))

    def answer(self, call, body=b"", status=202):
        event = CloudResponse(call.tag, status, body)
        return self.take(self.journal.answered(event, self.now))

    def fail(self, call, error):
        return self.take(self.journal.failed(CloudFailed(call.tag, error), self.now))

    def respond(self, ticks=TICKS, command_id=25, charger_id=ID, accepted=True):
        event = ChargerResponse(charger_id, command_id, ticks, accepted, 0 if accepted else 4)
        return self.take(self.journal.responded(event, self.now))

    def observe(self, number, value, at_s=None, charger_id=ID):
        at = self.now.wall if at_s is None else NOON + timedelta(seconds=at_s)
        observation = Observation(charger_id, spec_of(number), value, at)
        return self.take(self.journal.observed(observation, self.now))

    def pass_s(self, seconds):
        self.mono_s += seconds
        return self.take(self.journal.tick(self.now))


@dataclass
class Values:
    """What a charger shows."""

    held: dict = field(default_factory=dict)

    def value(self, number):
        return self.held.get(number, (None, None))[0]

    def measured_at(self, number):
        return self.held.get(number, (None, None))[1]

    def received_at(self, number):
        return self.held.get(number, (None, None))[-1]


class Garage(Bench):
    """A bench with a charger that shows something."""

    def __post_init__(self):
        self.values = Values()
        super().__post_init__()
        self.ticks = 1
        self.show({48: 16.0, 109: 3, 38: 2, 120: 7.2})

    def begin(self):
        super().begin()
        self.journal._shown.latest[ID] = self.values

    def show(self, values):
        """Let the charger show something; return what follows."""
        for number, value in values.items():
            self.values.held[number] = (value, self.now.wall)
        return [out for number, value in values.items() for out in self.observe(number, value)]

    def wait(self, seconds):
        """Let time pass in steps in which something may become due."""
        return [out for _ in range(int(seconds)) for out in self.pass_s(1.0)]

    def carry_out(self, call, *, shows):
        """Answer a request, let the charger respond, and let it show something."""
        self.mono_s += 1.0
        self.ticks += 1
        command_id = 38 if call.request.path.endswith("set_phase_mode") else 48
        body = b'{"device":"EH123456","commandId":%d,"ticks":%d}' % (command_id, self.ticks)
        done = self.answer(call, body)
        done += self.respond(self.ticks, command_id)
        return done + self.show(shows)


def calls_of(effects):
    """The REST calls among effects."""
    return [effect for effect in effects if isinstance(effect, SendRequest)]


def call_of(effects):
    """The one REST call among effects."""
    (call,) = calls_of(effects)
    return call


def answers(effects, topic="charger/EH123456/result/"):
    """The documents published below a topic."""
    published = [e for e in effects if isinstance(e, Publish) and e.topic.startswith(topic)]
    return [json.loads(effect.payload) for effect in published]


def states(effects):
    """The states that were told of the first charger's commands."""
    return [answer["state"] for answer in answers(effects)]
