"""The promises of the commands over random lives.

Crashes, redeliveries, a store and a cloud that fail, clocks that jump. ``LIVES=20000`` plays more
of them, ``--hypothesis-seed`` the same ones again.
"""

import json
import math
import os
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import count

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bridge.core.commands.dispatcher import Purpose
from bridge.core.commands.persistence import read_record
from bridge.core.commands.state_machine import FINAL, State
from bridge.core.domain_events import SchedulesRead
from bridge.core.easee.schedules import Period, Schedule, Schedules
from bridge.core.effects import Acknowledge, SaveCommand, SendRequest
from bridge.core.events import MqttMessage
from bridge.core.messages import AckToken, Publish
from bridge.core.topics import SetTopic
from bridge.errors import Blocked, CloudRejected, CloudUnavailable, OutcomeUnknown, RateLimited
from tests.core.commands.bench import ID, OTHER, SITE, TICKS, Bench, ticket
from tests.native import as_messages

WHOLE = {"timezone": "UTC", "periods": [{"start": "22:00", "stop": "06:00"}]}
COMMANDS = {
    "start": ["PRESS"],
    "stop": ["PRESS"],
    "pause": ["PRESS"],
    "resume": ["PRESS"],
    "toggle": ["PRESS"],
    "reboot": ["PRESS"],
    "authorization_required": [True, False],
    "local_pre_authorize_enabled": [True, False],
    "dynamic_charger_current": [0, 6, 16, 32],
    "dynamic_circuit_current": [10],
    "charging_allowed": [True, False],
    "daily_schedule": [False, WHOLE, {"start": "23:00", "timezone": "UTC"}],
}
HELD = json.dumps(
    {
        "enabled": "daily",
        "daily": {"timezone": "UTC", "periods": [{"startTime": "22:00", "stopTime": "06:00"}]},
    }
).encode()
SCHEDULES = [
    Schedules(),
    Schedules("ocpp.direct"),
    Schedules("daily", daily=Schedule("UTC", (Period(22 * 60, 6 * 60),))),
    Schedules("none", daily=Schedule("UTC", (Period(23 * 60, 6 * 60),))),
]
OBSERVED = [(48, 0), (48, 16), (109, 3), (109, 7), (42, True), (15, True), (111, 10), (112, 10)]
FAILURES = [
    CloudUnavailable("503", status=503),
    OutcomeUnknown("timeout"),
    RateLimited("429", retry_after_s=3.0),
    RateLimited("budget", retry_after_s=2.0, local=True),
    RateLimited("budget", retry_after_s=90.0, local=True),
    CloudRejected("no", status=400, reason="bad_request"),
    CloudRejected("none", status=404, reason="not_found"),
    CloudRejected("conflict", status=409, reason="conflict"),
    Blocked("ban", status=403, retry_after_s=9.0),
]
CHARGERS = st.sampled_from([ID, OTHER])
INDEX = st.integers(0, 9)


@dataclass(eq=False)
class Asking:
    """One message somebody published, and everything that came of it.

    Attributes:
        deadline_s: Monotonic time after which it must not be sent.
        jump_s: How far the wall clock was off when it arrived last.
        deliveries: How often the broker delivered it.
        finals: Final answers it got.
        is_acked: We acknowledged it.
        is_known: The broker knows that.
        is_spoilt: Its row could not be written when the process died: nothing is promised.
    """

    number: int
    message: MqttMessage
    target: SetTopic
    name: object
    ttl_s: float
    deadline_s: float = 0.0
    jump_s: float = 0.0
    deliveries: int = 0
    finals: list = field(default_factory=list)
    is_acked: bool = False
    is_known: bool = False
    is_spoilt: bool = False


class Lives(RuleBasedStateMachine):
    """Callers, a broker, a store and a cloud around one journal."""

    def __init__(self):
        super().__init__()
        self.bench = Bench()
        self.bench.take = self.take
        self.epoch = 1
        self.askings = []
        self.by_receipt = {}
        self.open_calls = {}
        self.numbers = count(1)
        self.sendings = defaultdict(list)
        self.order = defaultdict(list)
        self.askers = defaultdict(set)
        self.crashes = 0

    # -- the books ---------------------------------------------------------------------

    def take(self, effects):
        """Carry effects out like the bench, and keep books."""
        new = as_messages(effects)
        for effect in new:
            if isinstance(effect, Acknowledge):
                asking = self.by_receipt.get(effect.ack_token)
                if asking is not None:
                    asking.is_acked = True
            elif isinstance(effect, Publish) and effect.topic.startswith("charger/reply/"):
                document = json.loads(effect.payload)
                asking = self.askings[int(effect.topic.rsplit("/", 1)[1])]
                if document["final"]:
                    asking.finals.append(document)
                    # The broker acknowledges it at once, and reads one connection in order: what
                    # was acknowledged to it before, it knows.
                    asking.is_known |= asking.is_acked
            elif isinstance(effect, SendRequest):
                self._called(effect)
            elif isinstance(effect, SaveCommand):
                topics = [reply_to.response_topic for reply_to in read_record(effect.row).asks]
                self.askers[effect.row.key] |= {int(t.rsplit("/", 1)[1]) for t in topics}
        return Bench.take(self.bench, new)

    def _called(self, call):
        made = self.bench.journal._dispatcher._pending[call.tag.ref]
        number = next(self.numbers)
        self.open_calls[number] = call
        if made.purpose is not Purpose.SEND:
            return
        command, now_s = made.command, self.bench.mono_s
        assert 0 < call.within_s <= 30
        row = self.bench.rows.get(command.key)
        assert command.caveat or (row and row.state == "leaving"), "sent before it was on disk"
        others = [c for c in self.bench.journal._active.live if c.state is State.SENT]
        for other in others:
            assert other is command or not other.devices & command.devices, "two at a time"
        asking = self._asking_of(command)
        if asking and not asking.is_spoilt and asking.jump_s == self.bench.jump_s:
            assert now_s < asking.deadline_s, "sent after its time"
        self.sendings[command.key].append(number)
        if not command.caveat:
            self.order[command.charger_id].append(command.seq)

    def _asking_of(self, command):
        topics = [ask.response_topic for ask in command.waiters]
        return self.askings[int(topics[0].rsplit("/", 1)[1])] if topics else None

    # -- what callers and the broker do -----------------------------------------------------------

    @rule(
        command=st.sampled_from(sorted(COMMANDS)),
        charger_id=CHARGERS,
        which=INDEX,
        ttl_s=st.sampled_from([1, 5, 60, None]),
        named=st.sampled_from([("a", None), (None, "a"), ("b", None), *3 * [(None, None)]]),
    )
    def ask(self, command, charger_id, which, ttl_s, named):
        """Somebody publishes a command, with an id, with Correlation Data or without either."""
        given, data = named
        name = given or data
        values = COMMANDS[command]
        fields = {"value": values[which % len(values)]}
        fields |= {} if ttl_s is None else {"ttl_s": ttl_s}
        fields |= {} if given is None else {"id": given}
        number = len(self.askings)
        ack_token = AckToken(self.epoch, number + 1, 1)
        topic = f"charger/{charger_id}/set/{command}"
        message = MqttMessage(
            topic,
            json.dumps(fields).encode(),
            ack_token,
            response_topic=f"charger/reply/{number}",
            correlation=data and data.encode(),
        )
        target = SetTopic(charger_id, command)
        asking = Asking(number, message, target, name and (charger_id, name), ttl_s or 60)
        self.askings.append(asking)
        self._deliver(asking, message)

    @rule(charger_id=CHARGERS)
    def ask_retained(self, charger_id):
        """A retained command arrives; nothing may come of it but an answer."""
        before = len(self.sendings)
        self.bench.send("start", b"PRESS", charger_id, packet=0, retained=True)
        assert len(self.sendings) == before

    def _deliver(self, asking, message):
        if not asking.is_acked:
            asking.deadline_s = self.bench.mono_s + asking.ttl_s
            asking.jump_s = self.bench.jump_s
        asking.deliveries += 1
        self.by_receipt[message.ack_token] = asking
        commands = self.bench.journal
        known = self.bench.known
        self.bench.take(commands.receive(message, asking.target, known, self.bench.now))

    @rule(session=st.booleans(), lost=INDEX)
    def reconnect(self, session, lost):
        """The broker goes and comes; with a session it delivers again what it has no ack for."""
        self.bench.journal.disconnected()
        self._reconnected(session, lost)

    def _reconnected(self, session, lost):
        self.epoch += 1
        self.bench.journal.connected(self.bench.now, session_present=session)
        pending = [a for a in self.askings if not a.is_known]
        for position, asking in enumerate(pending):
            ack_was_lost = position >= len(pending) - lost
            if asking.is_acked and not ack_was_lost:
                asking.is_known = True
            elif not session:
                asking.is_known = True
                asking.is_spoilt = asking.is_spoilt or not asking.is_acked
            else:
                old = asking.message
                message = MqttMessage(
                    old.topic,
                    old.payload,
                    AckToken(self.epoch, old.ack_token.message_id, 1),
                    duplicate=True,
                    response_topic=old.response_topic,
                    correlation=old.correlation,
                )
                self._deliver(asking, message)

    # -- what the cloud and the chargers do --------------------------------------------------------

    @precondition(lambda self: self.open_calls)
    @rule(index=INDEX, what=st.sampled_from(["ticket", "", "[]", "<x>", "state"]))
    def answer(self, index, what):
        """The cloud answers a call."""
        number, call = self._pick(index)
        body = ticket(TICKS + number) if what == "ticket" else what.encode()
        if what == "state":
            body = b'{"wasAccepted":true,"resultCode":3}'
        if call.request.path.endswith("/site"):
            body = SITE
        elif call.request.path.endswith("/schedules"):
            body = HELD
        self.bench.answer(call, body, 200 if call.request.method == "GET" else 202)

    @rule(schedules=st.sampled_from(SCHEDULES), age_s=st.integers(0, 9), charger_id=CHARGERS)
    def read_schedules(self, schedules, age_s, charger_id):
        """The cloud told which schedules it holds, asked for now or earlier."""
        event = SchedulesRead(charger_id, schedules, self.bench.mono_s - age_s)
        self.bench.take(self.bench.journal.schedules_read(event, self.bench.now))

    @precondition(lambda self: self.open_calls)
    @rule(index=INDEX, error=st.sampled_from(FAILURES))
    def fail(self, index, error):
        """A call fails."""
        number, call = self._pick(index)
        if isinstance(error, RateLimited) and error.local:
            for sent in self.sendings.values():
                if number in sent:
                    sent.remove(number)
        self.bench.fail(call, error)

    def _pick(self, index):
        number = sorted(self.open_calls)[index % len(self.open_calls)]
        return number, self.open_calls.pop(number)

    @rule(
        command_id=st.sampled_from([25, 26, 48, 22, 1]),
        number=INDEX,
        accepted=st.booleans(),
        charger_id=CHARGERS,
    )
    def respond(self, command_id, number, accepted, charger_id):
        """A charger answers a command, perhaps one of ours."""
        self.bench.respond(TICKS + number, command_id, charger_id, accepted)

    @rule(what=st.sampled_from(OBSERVED), age_s=st.sampled_from([60, 0]), charger_id=CHARGERS)
    def observe(self, what, age_s, charger_id):
        """A charger reports a value."""
        self.bench.observe(*what, self.bench.mono_s - 1000 - age_s, charger_id)

    @rule(is_up=st.booleans())
    def stream(self, is_up):
        """The stream comes or goes."""
        self.bench.journal.stream(self.bench.now, is_up=is_up)

    # -- what the machine under us does -----------------------------------------------------------

    @rule(disk=st.sampled_from(["ok", "ok", "fails", "hangs"]))
    def store(self, disk):
        """The store fails, hangs or is well again."""
        self.bench.disk = disk
        if disk != "hangs":
            self._commit_all()

    @precondition(lambda self: self.bench.pending)
    @rule()
    def commit(self):
        """A write that hung is through."""
        self.bench.commit()

    def _commit_all(self):
        while self.bench.pending:
            self.bench.commit()

    @rule(acks=st.booleans())
    def broker_acks(self, acks):
        """The broker acknowledges answers, or leaves it for later."""
        self.bench.acks = acks

    @rule(seconds=st.sampled_from([0.1, 1, 4, 30]))
    def wait(self, seconds):
        """Time passes."""
        self._until(self.bench.mono_s + seconds)

    @rule(jump_s=st.sampled_from([-3600, -30, 30, 3600]))
    def jump(self, jump_s):
        """The wall clock jumps."""
        self.bench.jump_s += jump_s

    @rule(trusted=st.booleans())
    def trust(self, trusted):
        """The wall clock can be believed, or not."""
        self.bench.trusted = trusted

    @rule(session=st.booleans(), lost=INDEX, down_s=st.sampled_from([0, 2, 120]))
    def crash(self, session, lost, down_s):
        """The process dies and starts again."""
        self.crashes += 1
        bench = self.bench
        for command in self._unwritten():
            for number in self.askers[command.key]:
                self.askings[number].is_spoilt = True
        # Whoever used the same id was told the same.
        names = {asking.name for asking in self.askings if asking.is_spoilt and asking.name}
        for asking in self.askings:
            asking.is_spoilt |= asking.name in names
            # What was refused is not on disk, and judged anew if the broker delivers it again.
            refused = any(final["state"] == "refused" for final in asking.finals)
            # How old a row is, is told by the wall clock: one that jumped hides a redelivery.
            jumped = asking.jump_s != bench.jump_s
            asking.is_spoilt |= (refused or jumped) and not asking.is_known
        # What never was on disk leaves no trace, and its key is free again.
        for key in self.sendings.keys() - bench.rows.keys():
            del self.sendings[key]
        self.open_calls.clear()
        bench.mono_s += down_s
        bench.begin()
        bench.journal.disconnected()
        bench.take(bench.journal.opened(tuple(bench.rows.values()), bench.now))
        self._reconnected(session, lost)

    def _unwritten(self):
        """Yield commands of which something was promised or told that is not on disk."""
        service = self.bench.journal
        commands = service._active
        yield from service._persistence.retries
        told = commands._unacknowledged.values()
        for command in {*told, *commands.dirty, *commands.writing.values()}:
            is_out = command.is_published or command.caveat or command.durable == 0
            if is_out and command.durable < command.version:
                yield command

    # -- always ---------------------------------------------------------------------------

    def _until(self, end_s):
        """Let time pass as the program does: from one deadline to the next."""
        commands = self.bench.journal
        for _ in range(10_000):
            deadline_s = commands.deadline_s()
            if deadline_s is None or deadline_s > end_s:
                self.bench.pass_s(max(0.0, end_s - self.bench.mono_s))
                return
            self.bench.pass_s(max(0.0, deadline_s - self.bench.mono_s))
            later_s = commands.deadline_s()
            assert later_s is None or later_s > self.bench.mono_s, "the deadline does not move"
        raise AssertionError("time does not pass")

    @invariant()
    def nothing_twice(self):
        """What must not run twice is sent once, over all restarts."""
        for key, sent in self.sendings.items():
            row = self.bench.rows.get(key)
            if row is not None and row.command in ("toggle", "reboot"):
                assert len(sent) <= 1

    @invariant()
    def one_answer(self):
        """However often it is told, there is one final answer to each asking."""
        for asking in self.askings:
            if not asking.is_spoilt:
                assert len({json.dumps(f, sort_keys=True) for f in asking.finals}) <= 1
                # A named repetition that is delivered again after a crash is another repetition.
                again = asking.deliveries - 1 if asking.name and self.crashes else 0
                assert len(asking.finals) <= 1 + self.crashes + again

    @invariant()
    def an_acknowledged_command_is_durable(self):
        """What the broker forgot is on disk, or answered, or the store had failed."""
        for command in self.bench.journal._active.live:
            if not command.ack_tokens and not command.caveat:
                assert command.key in self.bench.rows

    @invariant()
    def no_end_waits_for_a_disk_that_hangs(self):
        """An end whose row does not get to the disk in time is told all the same."""
        for command in self.bench.journal._active.writing.values():
            is_told = command.state not in FINAL or command.is_published
            assert is_told or command.write_due_s < math.inf

    @invariant()
    def in_order(self):
        """Commands of one charger leave in the order they came."""
        for numbers in self.order.values():
            assert numbers == sorted(numbers)

    def teardown(self):
        """Let everything come to its end: then every asking has its answer."""
        bench = self.bench
        bench.disk, bench.acks = "ok", True
        self._commit_all()
        for _ in range(100):
            while self.open_calls:
                bench.fail(self._pick(0)[1], OutcomeUnknown("end"))
            self._until(bench.mono_s + 60)
            if bench.journal.deadline_s() is None and not self.open_calls:
                break
        assert bench.journal.deadline_s() is None
        assert not bench.journal._active.live
        for asking in self.askings:
            assert asking.is_acked or asking.is_spoilt
            if not asking.is_spoilt:
                assert asking.finals, asking
        named = defaultdict(set)
        for key, row in bench.rows.items():
            # One that was refused after an attempt that came to nothing may be asked for again.
            if row.name and self.sendings[key] and row.state != "refused":
                named[row.charger_id, row.name].add(key)
        if not any(asking.is_spoilt for asking in self.askings):
            assert all(len(keys) == 1 for keys in named.values())
        assert {State(row.state) for row in bench.rows.values()} <= FINAL


Lives.TestCase.settings = settings(
    max_examples=int(os.environ.get("LIVES", "200")),
    report_multiple_bugs=False,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestLives = pytest.mark.filterwarnings("default")(Lives.TestCase)
