import itertools
import json
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.core.chargers.observations import Observation, spec_of
from bridge.core.commands.calls import GRACE_S
from bridge.core.commands.journal import Journal
from bridge.core.effects import Acknowledge, CallCloud, Note
from bridge.core.events import (
    CloudAnswered,
    CloudFailed,
    CommandResponse,
    Moment,
    MqttMessage,
    Observed,
)
from bridge.core.messages import Publish, Receipt
from bridge.core.topics import GetTopic, SetTopic, Topics
from bridge.errors import (
    AuthFailed,
    Blocked,
    CloudRejected,
    CloudUnavailable,
    OutcomeUnknown,
    RateLimited,
)
from bridge.settings import CommandSettings
from tests.conftest import NOON

ID, OTHER = "EH123456", "EH999999"
TICKS = 639086870099692230
EVERYTHING = ("control", "access", "current", "device", "installer", "maintenance")
SITE = json.dumps(
    {"id": 7, "circuits": [{"id": 9, "siteId": 7, "chargers": [{"id": ID}, {"id": OTHER}]}]}
).encode()


def _ticket(ticks=TICKS, command_id=25):
    return b'{"device":"EH123456","commandId":%d,"ticks":%d}' % (command_id, ticks)


@dataclass
class Bench:
    """A journal on simulated time, with everything it asked for."""

    allow: tuple = EVERYTHING
    known: tuple = (ID, OTHER)
    mono_s: float = 1000.0
    trusted: bool = True
    effects: list = field(default_factory=list)
    read: list = field(default_factory=list)

    def __post_init__(self):
        self.ids = itertools.count(1)
        self.journal = Journal(
            Topics("charger"),
            CommandSettings(allow=self.allow),
            next_call_id=self.ids.__next__,
            settled=lambda _command, _now: iter(()),
            observe=self._observe,
        )

    def _observe(self, event, now):
        self.read.append(event)
        yield Note("debug", "test.observed")

    @property
    def now(self):
        return Moment(NOON + timedelta(seconds=self.mono_s - 1000.0), self.mono_s, self.trusted)

    def take(self, effects):
        new = list(effects)
        self.effects += new
        return new

    def send(self, command="start", payload=b"PRESS", charger_id=ID, **facts):
        message = MqttMessage("ignored", payload, Receipt(1, 1, 1), **facts)
        target = SetTopic(charger_id, command)
        return self.take(self.journal.receive(message, target, self.known, self.now))

    def answer(self, call, body=b"", status=202):
        event = CloudAnswered(call.call_id, status, body)
        return self.take(self.journal.answered(event, self.now))

    def fail(self, call, error):
        return self.take(self.journal.failed(CloudFailed(call.call_id, error), self.now))

    def respond(self, ticks=TICKS, command_id=25, charger_id=ID, accepted=True):
        event = CommandResponse(charger_id, command_id, ticks, accepted, 0 if accepted else 4)
        return self.take(self.journal.responded(event, self.now))

    def observe(self, number, value, at_s=None, charger_id=ID):
        at = self.now.wall if at_s is None else NOON + timedelta(seconds=at_s)
        observation = Observation(charger_id, spec_of(number), value, at)
        return self.take(self.journal.observed(observation, self.now))

    def pass_s(self, seconds):
        self.mono_s += seconds
        return self.take(self.journal.tick(self.now))


@pytest.fixture
def bench():
    """A fresh journal."""
    return Bench()


def _calls(effects):
    return [effect for effect in effects if isinstance(effect, CallCloud)]


def _call(effects):
    (call,) = _calls(effects)
    return call


def _answers(effects, topic="charger/EH123456/result/"):
    published = [e for e in effects if isinstance(e, Publish) and e.topic.startswith(topic)]
    return [json.loads(effect.payload) for effect in published]


def _states(effects):
    return [answer["state"] for answer in _answers(effects)]


# -- the way through --------------------------------------------------------------------------


def test_a_command_goes_out_at_once_and_is_acknowledged(bench):
    """A command of an idle charger is sent with the time that is left, as a command."""
    effects = bench.send("start", b'{"id":"a","ttl_s":20}')

    assert [type(effect) for effect in effects] == [Acknowledge, CallCloud]
    call = _call(effects)
    assert (call.request.path, call.within_s) == (f"/api/chargers/{ID}/commands/start_charging", 20)
    assert call.request.command
    assert bench.journal.owns(call.call_id)


def test_accepted_and_then_confirmed_by_ticks(bench):
    """The cloud's answer is told at once, the charger's answer ends it."""
    call = _call(bench.send("start", b'{"id":"a"}'))
    bench.mono_s += 0.2
    accepted = bench.answer(call, _ticket())
    bench.mono_s += 0.212
    confirmed = bench.respond()

    assert _answers(accepted) == [
        {
            "id": "a",
            "command": "start",
            "state": "accepted",
            "final": False,
            "reason": None,
            "detail": None,
            "http_status": 202,
            "ticks": str(TICKS),
            "received_at": "2026-11-22T12:00:00Z",
            "at": "2026-11-22T12:00:00.200Z",
            "elapsed_ms": 200,
        }
    ]
    (answer,) = _answers(confirmed)
    assert (answer["state"], answer["final"], answer["elapsed_ms"]) == ("confirmed", True, 412)
    assert bench.journal.deadline_s() is None


def test_a_charger_may_say_no(bench):
    """A CommandResponse that was not accepted rejects the command, with its result code."""
    bench.answer(_call(bench.send()), _ticket())
    (answer,) = _answers(bench.respond(accepted=False))

    assert (answer["state"], answer["final"]) == ("rejected", True)
    assert "result code 4" in answer["detail"]


def test_the_reflecting_observation_confirms_too(bench):
    """What the charger reports after the sending proves the command."""
    bench.answer(_call(bench.send("pause")), _ticket(command_id=48))

    assert _states(bench.observe(48, 0)) == ["confirmed"]


def test_a_replay_confirms_nothing(bench):
    """A value measured before the sending is no proof, however late it arrives."""
    bench.answer(_call(bench.send("pause")), _ticket(command_id=48))

    assert not bench.observe(48, 0, at_s=-60)
    assert not bench.observe(120, 7.2)
    assert _states(bench.pass_s(30)) == ["unconfirmed"]


def test_a_change_confirms_where_clocks_disagree(bench):
    """A charger whose clock is behind still proves a command by a newer, other value."""
    bench.trusted = False
    bench.observe(48, 16, at_s=-90)
    bench.answer(_call(bench.send("pause")), _ticket(command_id=48))

    assert _states(bench.observe(48, 0, at_s=-60)) == ["confirmed"]


def test_silence_ends_after_30_s(bench):
    """Accepted, and no word from the charger: unconfirmed, exactly once."""
    bench.answer(_call(bench.send()), _ticket())
    assert bench.journal.deadline_s() == 1030.0

    assert not bench.pass_s(29.9)
    assert _states(bench.pass_s(0.1)) == ["unconfirmed"]
    assert not bench.pass_s(100)


@pytest.mark.parametrize("body", [b"", b"[]", b"null", _ticket(ticks=0)])
def test_an_answer_without_a_ticket_is_nothing_to_do(bench, body):
    """202 with an empty body, an empty list or ticks 0 means there was nothing to change."""
    assert _states(bench.answer(_call(bench.send()), body)) == ["noop"]


def test_what_has_no_charger_behind_it_is_confirmed_by_the_cloud(bench):
    """A charge plan is the cloud's own: a 200 confirms it."""
    call = _call(bench.send("access_level", b"open"))

    assert _states(bench.answer(call, b"", status=200)) == ["confirmed"]


def test_an_early_no_or_yes_in_the_answer_counts(bench):
    """Some 200 answers already are the charger's verdict."""
    said_no = b'{"id":25,"wasAccepted":false,"resultCode":4}'
    said_yes = b'{"id":25,"wasAccepted":true,"resultCode":3}'

    assert _states(bench.answer(_call(bench.send()), said_no, 200)) == ["accepted", "rejected"]
    assert _states(bench.answer(_call(bench.send()), said_yes, 200)) == ["accepted", "confirmed"]


def test_all_tickets_of_a_settings_answer_are_waited_for(bench):
    """A settings call with two tickets is confirmed by two responses."""
    body = b"[" + _ticket(TICKS, 42) + b"," + _ticket(TICKS + 1, 15) + b"]"
    bench.answer(_call(bench.send("authorization_required", b"true")), body)

    assert not bench.respond(TICKS + 1, 15)
    (answer,) = _answers(bench.respond(TICKS, 42))
    assert answer["state"] == "confirmed"
    assert "local_pre_authorize_enabled becomes false" in answer["detail"]


def test_an_unreadable_2xx_is_taken_and_watched(bench):
    """HTML with a 202 still means the cloud took it; the charger tells the rest."""
    effects = bench.answer(_call(bench.send()), b"<html>")

    assert _states(effects) == ["accepted"]
    assert _states(bench.respond(ticks=None)) == ["confirmed"]


def test_refresh_applies_what_it_read(bench):
    """The answer to ``refresh`` is applied, and that is its confirmation."""
    body = b'{"observations":[{"id":48,"value":16,"timestamp":"2026-11-22T12:00:00Z"}]}'
    effects = bench.answer(_call(bench.send("refresh")), body, 200)

    assert _states(effects) == ["confirmed"]
    (event,) = bench.read
    assert isinstance(event, Observed)
    assert [raw.id for raw in event.observations] == [48]
    assert _states(bench.answer(_call(bench.send("refresh")), b"<html>", 200)) == ["failed"]


# -- who answers whom --------------------------------------------------------------------------


def test_a_response_may_overtake_the_clouds_answer(bench):
    """What the charger says before the cloud has answered is kept and counts."""
    call = _call(bench.send())
    assert bench.journal.matches(CommandResponse(ID, 25, TICKS, True, 0), bench.now)
    assert not bench.respond()

    assert _states(bench.answer(call, _ticket())) == ["accepted", "confirmed"]


def test_a_response_to_the_one_before_is_not_kept_for_the_next(bench):
    """Exact ticks name an earlier command even while a later one awaits the cloud's answer."""
    bench.answer(_call(bench.send("pause")), _ticket(TICKS, 48))
    bench.send("resume")

    assert _states(bench.respond(TICKS, 48)) == ["confirmed"]


def test_an_observation_may_overtake_the_clouds_answer(bench):
    """A proof that comes before the cloud's answer counts when that is in."""
    call = _call(bench.send("pause"))
    assert not bench.observe(48, 0)

    assert _states(bench.answer(call, _ticket(command_id=48))) == ["accepted", "confirmed"]


def test_foreign_responses_are_told_apart(bench):
    """A response that none of our commands caused is not one of ours, and is noted."""
    bench.answer(_call(bench.send()), _ticket())

    assert not bench.journal.matches(CommandResponse(ID, 48, TICKS + 1, True, 0), bench.now)
    (note,) = bench.respond(TICKS + 1, 48)
    assert (note.event, note.fields["command_id"]) == ("command.foreign", 48)


def test_an_early_response_of_somebody_else_is_noted_later(bench):
    """A response that came while the cloud's answer was awaited may turn out to be foreign."""
    call = _call(bench.send())
    for _ in range(20):
        assert not bench.respond(TICKS + 1, 48)
    effects = bench.answer(call, _ticket())

    assert _states(effects) == ["accepted"]
    assert sum(1 for e in effects if isinstance(e, Note) and e.event == "command.foreign") == 16


def test_a_late_response_to_a_proved_command_is_ours(bench):
    """A command that an observation confirmed is still answered by the charger."""
    bench.answer(_call(bench.send("pause")), _ticket(command_id=48))
    bench.observe(48, 0)

    assert bench.journal.matches(CommandResponse(ID, 48, TICKS, True, 0), bench.now)
    assert not bench.respond(TICKS, 48)
    bench.pass_s(31)
    assert not bench.journal.matches(CommandResponse(ID, 48, TICKS, True, 0), bench.now)


def test_a_change_of_ours_is_expected(bench):
    """What our own command moves is no touch of somebody at the charger."""
    assert not bench.journal.expects(ID, 102, bench.now)
    bench.answer(_call(bench.send("smart_charging", b"on")), _ticket(command_id=11))
    assert bench.journal.expects(ID, 102, bench.now)
    assert not bench.journal.expects(OTHER, 102, bench.now)
    assert not bench.journal.expects(ID, 120, bench.now)
    bench.respond(TICKS, 11)
    assert bench.journal.expects(ID, 102, bench.now)
    bench.mono_s += 31
    assert not bench.journal.expects(ID, 102, bench.now)


# -- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "payload", "facts", "reason"),
    [
        ("start", b"PRESS", {"retained": True}, "retained"),
        ("start", b"", {}, "empty_payload"),
        ("start", b"PRESS", {"charger_id": "EH000000"}, "unknown_charger"),
        ("begin", b"PRESS", {}, "unknown_command"),
        ("reboot", b"PRESS", {}, "not_allowed"),
        ("start", b"off", {}, "invalid_value"),
        ("dynamic_charger_current", b"3", {}, "invalid_value"),
        ("dynamic_charger_current", b"33", {}, "over_limit"),
    ],
)
def test_a_refusal_is_answered_and_nothing_is_sent(command, payload, facts, reason):
    """The bridge's no is final, has a reason and a sentence, and reaches no cloud."""
    bench = Bench(allow=("control", "current"))
    effects = bench.send(command, payload, **facts)

    (answer,) = _answers(effects, "charger/")
    assert (answer["state"], answer["final"], answer["reason"]) == ("refused", True, reason)
    assert answer["detail"]
    assert not _calls(effects)
    assert Acknowledge(Receipt(1, 1, 1)) in effects
    assert bench.journal.deadline_s() is None


def test_a_hostile_topic_gets_no_topic_of_its_own(bench):
    """A name that is no topic level is acknowledged and answered nowhere but where allowed."""
    effects = bench.send("sta rt", charger_id="../x", response_topic="charger/reply/a")

    (publish,) = (e for e in effects if isinstance(e, Publish))
    assert publish.topic == "charger/reply/a"
    (note,) = (e for e in effects if isinstance(e, Note))
    assert note.fields == {"charger_id": None, "command": None, "reason": "unknown_charger"}


def test_queries_are_refused(bench):
    """A query this version does not know is answered where a query is answered."""
    message = MqttMessage("ignored", b'{"id":"q"}', Receipt(1, 1, 1))
    effects = bench.take(
        bench.journal.query(message, GetTopic(ID, "history"), bench.known, bench.now)
    )

    (answer,) = _answers(effects)
    assert (answer["id"], answer["command"], answer["reason"]) == (
        "q",
        "history",
        "unknown_command",
    )


def test_both_answers_carry_what_the_caller_sent(bench):
    """The Response Topic gets the correlation byte for byte, the result topic the same answer."""
    effects = bench.send(response_topic="charger/reply/me", correlation=b"\x00\xff", retained=True)
    result, reply = (e for e in effects if isinstance(e, Publish))

    assert (result.topic, result.correlation) == ("charger/EH123456/result/start", None)
    assert (reply.topic, reply.correlation) == ("charger/reply/me", b"\x00\xff")
    assert result.payload == reply.payload
    assert not result.retained
    assert not reply.retained
    assert result.tag == ""


# -- once --------------------------------------------------------------------------------------


def test_the_same_id_is_executed_once_and_answered_twice(bench):
    """A repeated id gets the stored answer and sends nothing."""
    bench.answer(_call(bench.send("toggle", b'{"id":"a"}')), _ticket(command_id=48))
    (first,) = _answers(bench.respond(TICKS, 48))
    bench.mono_s += 3600
    again = bench.send("toggle", b'{"id":"a"}', response_topic="charger/reply/x")

    assert _answers(again) == [first] == _answers(again, "charger/reply/x")
    assert not _calls(again)


def test_a_repetition_while_it_runs_waits_for_the_same_answer(bench):
    """Whoever repeats a running command is answered too, and nothing is sent again."""
    call = _call(bench.send("start", b"1", correlation=b"c"))
    again = bench.send("start", b"1", correlation=b"c")
    assert not _calls(again)
    assert _states(bench.answer(call, _ticket())) == ["accepted", "accepted"]
    assert _states(bench.send("start", b"1", correlation=b"c")) == ["accepted"]

    assert _states(bench.respond()) == ["confirmed"] * 3
    for _ in range(12):
        effects = bench.send("pause", b'{"id":"p"}')
    assert _answers(effects)[0]["reason"] == "busy"


def test_the_same_id_with_another_content_is_a_conflict(bench):
    """An id stands for one command and one value; on another charger it is another command."""
    bench.send("dynamic_charger_current", b'{"value":16,"id":"a"}')

    for command, payload in (("dynamic_charger_current", b'{"value":17,"id":"a"}'),
                             ("pause", b'{"id":"a"}')):  # fmt: skip
        (answer,) = _answers(bench.send(command, payload))
        assert (answer["id"], answer["reason"]) == ("a", "conflict")
    assert _calls(bench.send("pause", b'{"id":"a"}', charger_id=OTHER))


# -- order, time and trouble -------------------------------------------------------------------


def test_commands_of_one_charger_go_one_after_the_other(bench):
    """The next one goes when the cloud has answered the one before; other chargers do not wait."""
    first = _call(bench.send("pause"))
    assert not _calls(bench.send("resume"))
    assert _calls(bench.send("pause", charger_id=OTHER))
    second = _call(bench.answer(first, _ticket(command_id=48)))

    assert second.request.path.endswith("resume_charging")


def test_four_calls_at_most(bench):
    """A fifth charger waits until one of four calls is answered, and is then served."""
    bench.known = tuple(f"EH00000{n}" for n in range(6))
    calls = [_calls(bench.send(charger_id=charger_id)) for charger_id in bench.known]
    assert [len(made) for made in calls] == [1, 1, 1, 1, 0, 0]
    bench.send(charger_id=bench.known[0])
    following = _call(bench.answer(calls[0][0], b""))
    assert following.request.scope == bench.known[4]


def test_beyond_20_waiting_the_answer_is_busy(bench):
    """One command is under way, 20 wait, and the next is refused without a delay."""
    effects = [bench.send() for _ in range(22)]

    assert [_answers(e) for e in effects[:21]] == [[]] * 21
    assert _answers(effects[21])[0]["reason"] == "busy"


def test_what_waited_too_long_expires(bench):
    """A command whose time ends in the queue is never sent, and says so in time."""
    call = _call(bench.send("pause"))
    bench.send("resume", b'{"ttl_s":5,"id":"r"}')
    assert bench.journal.deadline_s() == 1005.0
    effects = bench.pass_s(5)
    assert _states(effects) == ["expired"]
    assert not _calls(bench.answer(call, b""))


def test_an_event_that_comes_before_the_tick_sends_nothing_late(bench):
    """The time is looked at right before the sending, not only when a tick comes."""
    call = _call(bench.send("pause"))
    bench.send("resume", b'{"ttl_s":5}')
    bench.mono_s += 5
    assert not _calls(bench.answer(call, b""))
    assert _states(bench.pass_s(0)) == ["expired"]


def test_a_deadline_in_the_past_expires_at_once(bench):
    """``expires_at`` that has passed on a trusted clock is answered without a queue."""
    effects = bench.send("start", b'{"expires_at":"2026-11-22T11:59:59Z"}')

    assert _states(effects) == ["expired"]
    assert not _calls(effects)
    assert bench.journal.deadline_s() is None


def test_trouble_is_retried_inside_its_time(bench):
    """503 is tried again after 1, 2, 4 s, and in order; the time the cloud names counts more."""
    call = _call(bench.send("pause"))
    bench.send("resume")
    for wait_s in (1, 2, 4):
        assert not _calls(bench.fail(call, CloudUnavailable("503", status=503)))
        assert not _calls(bench.pass_s(wait_s - 0.1))
        call = _call(bench.pass_s(0.1))
        assert call.request.path.endswith("pause_charging")
    bench.fail(call, RateLimited("429", retry_after_s=20.0))
    assert bench.journal.deadline_s() == bench.mono_s + 20.0
    call = _call(bench.pass_s(20))
    assert call.within_s == 30.0
    (answer,) = _answers(bench.fail(call, RateLimited("429", retry_after_s=40.0)))
    assert (answer["state"], answer["reason"], answer["http_status"]) == (
        "failed", "rate_limited", 429,
    )  # fmt: skip


@pytest.mark.parametrize("command", ["toggle", "reboot", "update_firmware", "rfid_pairing"])
@pytest.mark.parametrize(
    ("error", "state"),
    [
        (CloudUnavailable("503", status=503), "failed"),
        (RateLimited("429", retry_after_s=1.0), "failed"),
        (OutcomeUnknown("read timeout"), "unknown"),
    ],
)
def test_what_must_not_run_twice_is_sent_once(bench, command, error, state):
    """Whatever goes wrong, a non-idempotent command is not sent again."""
    effects = bench.fail(_call(bench.send(command)), error)
    for _ in range(40):
        effects += bench.pass_s(1)

    assert _states(effects) == [state]
    assert len(_calls(bench.effects)) == 1


def test_our_own_budget_only_delays(bench):
    """What our own budget held back was not sent, so even a toggle may still go out."""
    call = _call(bench.send("toggle"))
    bench.fail(call, RateLimited("budget", retry_after_s=5.0, local=True))

    assert _calls(bench.pass_s(5))


@pytest.mark.parametrize(
    ("error", "reason", "status"),
    [
        (
            CloudRejected("no car", status=400, reason="charger_disconnected", code=410),
            "charger_disconnected",
            400,
        ),
        (AuthFailed("login", status=401), "auth_failed", 401),
        (Blocked("ban", status=403, retry_after_s=1.0), "blocked", 403),
    ],
)
def test_the_clouds_no_is_named(bench, error, reason, status):
    """The vendor's reason and status reach the caller."""
    (answer,) = _answers(bench.fail(_call(bench.send("pause")), error))

    assert (answer["state"], answer["reason"], answer["http_status"]) == ("failed", reason, status)


def test_a_lost_answer_is_looked_for_at_the_charger(bench):
    """After a read timeout the charger's word decides; without one it stays unknown."""
    bench.fail(_call(bench.send()), OutcomeUnknown("read timeout"))
    assert _states(bench.respond(ticks=TICKS)) == ["confirmed"]

    bench.fail(_call(bench.send("pause")), OutcomeUnknown("read timeout"))
    assert _states(bench.observe(48, 0)) == ["confirmed"]

    call = _call(bench.send("pause"))
    bench.observe(48, 0)
    assert _states(bench.fail(call, OutcomeUnknown("read timeout"))) == ["confirmed"]

    bench.mono_s += 100
    call = _call(bench.send("resume"))
    bench.mono_s += 10
    bench.fail(call, OutcomeUnknown("read timeout"))
    assert not bench.pass_s(19.9)
    assert _states(bench.pass_s(0.1)) == ["unknown"]


def test_a_call_that_is_never_answered_does_not_hold_the_lane(bench):
    """If an adapter loses a call, the command is in doubt and the next one goes."""
    bench.send("toggle")
    bench.send("pause")
    effects = bench.pass_s(30 + GRACE_S)
    assert _states(effects) == ["unknown"]
    assert _call(effects).request.path.endswith("pause_charging")
    bench.send("dynamic_circuit_current", b"10", charger_id=OTHER)
    assert _call(bench.pass_s(35)).request.path.endswith("/site")


def test_events_of_unknown_calls_are_harmless(bench):
    """An answer to a call nobody made changes nothing."""
    assert not bench.journal.owns(99)
    assert not bench.take(bench.journal.answered(CloudAnswered(99, 200, b""), bench.now))
    error = CloudFailed(99, CloudUnavailable("x"))
    assert not bench.take(bench.journal.failed(error, bench.now))


def test_removing_a_plan_that_is_not_there_is_nothing_to_do(bench):
    """404 to a deletion means it is gone, which is what was asked for."""
    gone = CloudRejected("no plan", status=404, reason="not_found")

    assert _states(bench.fail(_call(bench.send("basic_charge_plan", b"off")), gone)) == ["noop"]


# -- circuits ----------------------------------------------------------------------------------


def test_a_circuit_is_looked_up_once(bench):
    """Site and circuit are asked for before the first limit and remembered for the next."""
    lookup = _call(bench.send("dynamic_circuit_current", b"10"))
    assert (lookup.request.path, lookup.request.command) == (f"/api/chargers/{ID}/site", True)
    call = _call(bench.answer(lookup, SITE, 200))
    assert call.request.path == "/api/sites/7/circuits/9/dynamicCurrent"
    assert _states(bench.answer(call, b"", 200)) == ["accepted"]
    assert _states(bench.respond(TICKS, 22, charger_id=OTHER)) == ["confirmed"]
    again = _call(bench.send("max_circuit_current", b"20"))
    assert again.request.path == "/api/sites/7/circuits/9/settings"
    bench.answer(again, b"", 200)
    assert not bench.observe(22, 20)
    assert not bench.observe(23, 20)
    assert _states(bench.observe(24, 20)) == ["confirmed"]


def test_a_charger_without_a_circuit_says_so(bench):
    """A lookup that finds no circuit fails the command; one that is refused gives its reason."""
    effects = bench.answer(_call(bench.send("max_circuit_current", b"20")), b'{"id":7}', 200)
    assert _answers(effects)[0]["reason"] == "no_circuit"
    forbidden = CloudRejected("installers only", status=403, reason="forbidden")
    effects = bench.fail(_call(bench.send("max_circuit_current", b"20")), forbidden)
    assert _answers(effects)[0]["reason"] == "forbidden"


def test_a_lookup_is_repeated_but_never_late(bench):
    """A lost lookup is asked again; an answer after the command's time sends nothing."""
    lookup = _call(bench.send("dynamic_circuit_current", b'{"value":10,"ttl_s":10}'))
    bench.fail(lookup, OutcomeUnknown("read timeout"))
    lookup = _call(bench.pass_s(1))
    assert _states(bench.pass_s(9)) == ["expired"]
    assert not bench.answer(lookup, SITE, 200)
    assert _call(bench.send("dynamic_circuit_current", b"10")).request.path.startswith("/api/sites")


def test_a_late_failure_of_a_lookup_is_harmless(bench):
    """A lookup that fails after its command expired says nothing twice."""
    lookup = _call(bench.send("dynamic_circuit_current", b'{"value":10,"ttl_s":10}'))
    bench.pass_s(10)
    assert not bench.fail(lookup, CloudUnavailable("x"))
    lookup = _call(bench.send("dynamic_circuit_current", b'{"value":10,"ttl_s":10}'))
    bench.pass_s(10)
    assert not bench.answer(lookup, b"<html>", 200)


# -- the promises, over random lives -----------------------------------------------------------

ACTIONS = st.lists(
    st.one_of(
        st.tuples(
            st.just("send"),
            st.sampled_from(
                ["start", "stop", "toggle", "reboot", "pause", "dynamic_circuit_current"]
            ),
            st.sampled_from([ID, OTHER]),
            st.sampled_from([1, 5, 60]),
            st.sampled_from(["a", "b", None, None]),
        ),
        st.tuples(st.just("answer"), st.integers(0, 9), st.sampled_from(["ticket", "", "<x>"])),
        st.tuples(
            st.just("fail"),
            st.integers(0, 9),
            st.sampled_from(
                [
                    CloudUnavailable("503", status=503),
                    OutcomeUnknown("timeout"),
                    RateLimited("429", retry_after_s=3.0),
                    RateLimited("budget", retry_after_s=2.0, local=True),
                    CloudRejected("no", status=400, reason="bad_request"),
                    Blocked("ban", status=403, retry_after_s=9.0),
                ]
            ),
        ),
        st.tuples(
            st.just("respond"),
            st.sampled_from([25, 26, 48, 22, 1]),
            st.integers(0, 9),
            st.booleans(),
            st.sampled_from([ID, OTHER]),
        ),
        st.tuples(
            st.just("observe"),
            st.sampled_from([(48, 0), (109, 3), (109, 7), (111, 10), (112, 10), (113, 10)]),
            st.sampled_from([-60, 0]),
            st.sampled_from([ID, OTHER]),
        ),
        st.tuples(st.just("pass"), st.sampled_from([0.1, 1, 4, 30])),
    ),
    min_size=15,
    max_size=60,
)


class Life(Bench):
    """A bench that keeps books on every command."""

    def __post_init__(self):
        super().__post_init__()
        self.asked = 0
        self.attempts = []
        self.held_back = set()
        self.open = {}

    def take(self, effects):
        new = super().take(effects)
        for call in _calls(new):
            command = self.journal._calls._calls[call.call_id].command
            assert self.mono_s < command.expires_s
            assert 0 < call.within_s <= min(30, command.expires_s - self.mono_s)
            self.open[call.call_id] = call
            if call.request.method != "GET":
                self.attempts.append((command, call))
        return new

    def play(self, action):
        match action:
            case ("send", command, charger_id, ttl_s, name):
                fields = {"ttl_s": ttl_s} | ({} if name is None else {"id": name})
                if command == "dynamic_circuit_current":
                    fields["value"] = 10
                self.asked += 1
                self.send(command, json.dumps(fields).encode(), charger_id)
            case ("answer", index, what) if self.open:
                call = self._pick(index)
                body = _ticket(TICKS + call.call_id) if what == "ticket" else what.encode()
                self.answer(call, SITE if call.request.path.endswith("/site") else body)
            case ("fail", index, error) if self.open:
                call = self._pick(index)
                if isinstance(error, RateLimited) and error.local:
                    self.held_back.add(call.call_id)
                self.fail(call, error)
            case ("respond", command_id, number, accepted, charger_id):
                self.respond(TICKS + number, command_id, charger_id, accepted)
            case ("observe", (number, value), at_s, charger_id):
                self.observe(number, value, self.mono_s - 1000 + at_s, charger_id)
            case ("pass", seconds):
                self._until(self.mono_s + seconds)

    def _pick(self, index):
        return self.open.pop(sorted(self.open)[index % len(self.open)])

    def _until(self, end_s):
        """Let time pass as the program does: from one deadline to the next."""
        for _ in range(10_000):
            deadline_s = self.journal.deadline_s()
            if deadline_s is None or deadline_s > end_s:
                self.pass_s(end_s - self.mono_s)
                return
            self.pass_s(max(0.0, deadline_s - self.mono_s))
            later_s = self.journal.deadline_s()
            assert later_s is None or later_s > self.mono_s
        raise AssertionError("the deadline does not move")

    def finish(self):
        for number in range(100):
            while self.open:
                errors = CloudUnavailable("503", status=503), OutcomeUnknown("end")
                self.fail(self._pick(0), errors[number > 0])
            self._until(self.mono_s + 60)
            if self.journal.deadline_s() is None and not self.open:
                return


@settings(max_examples=150)
@given(ACTIONS)
def test_every_command_has_one_fate(actions):
    """Over random lives: one final answer per asking, nothing late, nothing unsafe twice, FIFO."""
    life = Life()
    for action in actions:
        life.play(action)
    life.finish()

    finals = [a for a in _answers(life.effects, "charger/") if a["final"]]
    assert len(finals) == life.asked
    assert life.journal.deadline_s() is None
    really_sent = [
        command
        for command, call in life.attempts
        if not command.spec.idempotent and call.call_id not in life.held_back
    ]
    assert len(really_sent) == len(set(really_sent))
    named = {command for command, _ in life.attempts if command.order.name is not None}
    assert len(named) == len({command.order.name for command in named})
    for charger_id in (ID, OTHER):
        arrivals = [c.received.mono_s for c, _ in life.attempts if c.charger_id == charger_id]
        assert arrivals == sorted(arrivals)


@given(st.lists(st.sampled_from(["start", "stop", "pause", "resume"]), min_size=1, max_size=15))
def test_commands_of_one_charger_are_sent_in_order(names):
    """Whatever fails in between, commands leave in the order they came."""
    bench, sent = Bench(), []
    for name in names:
        sent += _calls(bench.send(name))
    for number in range(4 * len(names)):
        if number >= len(sent):
            break
        failed = number % 3 == 0 and (number == 0 or sent[number] != sent[number - 1])
        error = CloudUnavailable("503", status=503)
        sent += _calls(bench.fail(sent[number], error) if failed else bench.answer(sent[number]))
        if failed:
            sent += _calls(bench.pass_s(1))
    order = [call.request.path.rsplit("/", 1)[1].removesuffix("_charging") for call in sent]
    assert [name for name, _ in itertools.groupby(order)] == [
        name for name, _ in itertools.groupby(names)
    ]
