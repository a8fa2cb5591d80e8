import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.commands.active_commands import MAX_WAITING_PER_CHARGER, RESERVED_PER_CHARGER
from bridge.core.commands.dispatcher import GRACE_S
from bridge.core.easee.command_catalogue import CATALOGUE
from bridge.core.effects import Acknowledge, LogEntry, SaveCommand, SendRequest
from bridge.core.events import CloudFailed, CloudResponse, ObservationsReceived
from bridge.core.messages import AckToken, Publish, Tag
from bridge.errors import (
    AnswerUnusable,
    AuthFailed,
    Blocked,
    CloudRejected,
    CloudUnavailable,
    OutcomeUnknown,
    RateLimited,
)
from bridge.settings import CommandSettings
from tests.core.commands.bench import (
    ID,
    OTHER,
    SITE,
    TICKS,
    Bench,
    answers,
    call_of,
    calls_of,
    states,
    ticket,
)


@pytest.fixture
def bench():
    """A fresh journal."""
    return Bench()


# -- the way through --------------------------------------------------------------------------


def test_a_command_goes_out_at_once_and_is_acknowledged(bench):
    """A command of an idle charger is sent with the time that is left, as a command."""
    effects = bench.send("start", b'{"id":"a","ttl_s":20}')

    assert [type(e) for e in effects] == [SaveCommand, Acknowledge, SendRequest]
    call = call_of(effects)
    assert (call.request.path, call.within_s) == (f"/api/chargers/{ID}/commands/start_charging", 20)
    assert call.request.command
    assert call.tag.owner == bench.journal.name


def test_accepted_and_then_confirmed_by_ticks(bench):
    """The cloud's answer is told at once, the charger's answer ends it."""
    call = call_of(bench.send("start", b'{"id":"a"}'))
    bench.mono_s += 0.2
    accepted = bench.answer(call, ticket())
    bench.mono_s += 0.212
    confirmed = bench.respond()

    assert answers(accepted) == [
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
    (answer,) = answers(confirmed)
    assert (answer["state"], answer["final"], answer["elapsed_ms"]) == ("confirmed", True, 412)
    bench.pass_s(1)
    assert bench.journal.deadline_s() is None


def test_a_charger_may_say_no(bench):
    """A CommandResponse that was not accepted rejects the command, with its result code."""
    bench.answer(call_of(bench.send()), ticket())
    (answer,) = answers(bench.respond(accepted=False))

    assert (answer["state"], answer["final"]) == ("rejected", True)
    assert "result code 4" in answer["detail"]


def test_the_reflecting_observation_confirms_too(bench):
    """What the charger reports after the sending proves the command."""
    bench.answer(call_of(bench.send("pause")), ticket(command_id=48))

    assert states(bench.observe(48, 0)) == ["confirmed"]


def test_a_replay_confirms_nothing(bench):
    """A value measured before the sending is no proof, however late it arrives."""
    bench.answer(call_of(bench.send("pause")), ticket(command_id=48))

    assert not bench.observe(48, 0, at_s=-60)
    assert not bench.observe(120, 7.2)
    assert states(bench.pass_s(30)) == ["unconfirmed"]


def test_a_change_confirms_where_clocks_disagree(bench):
    """A charger whose clock is behind still proves a command by a newer, other value."""
    bench.trusted = False
    bench.observe(48, 16, at_s=-90)
    bench.answer(call_of(bench.send("pause")), ticket(command_id=48))

    assert states(bench.observe(48, 0, at_s=-60)) == ["confirmed"]


def test_silence_ends_after_30_s(bench):
    """Accepted, and no word from the charger: unconfirmed, exactly once."""
    bench.answer(call_of(bench.send()), ticket())
    assert bench.journal.deadline_s() == 1020.0

    assert calls_of(bench.pass_s(20))
    assert not bench.pass_s(9.9)
    assert states(bench.pass_s(0.1)) == ["unconfirmed"]
    assert not states(bench.pass_s(100))


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (202, b"[]"),
        (202, ticket(ticks=0)),
        (200, b""),
        (200, b"[]"),
        (200, b"null"),
        (200, b"{}"),
        (200, ticket(ticks=0)),
    ],
)
def test_an_answer_without_a_ticket_is_nothing_to_do(bench, status, body):
    """200 without a word, and a list without an entry, mean that there was nothing to change."""
    assert states(bench.answer(call_of(bench.send()), body, status)) == ["noop"]


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (202, b""),
        (202, b" \n"),
        (202, b"null"),
        (202, b"{}"),
        (202, b'{"queued":true}'),
        (202, b"[7]"),
        (202, b"<html>"),
        (204, b""),
        (200, b'{"id":25,"resultCode":1}'),
        (200, b"OK"),
    ],
)
def test_an_answer_that_is_not_understood_is_no_end(bench, status, body):
    """The cloud took it and said nothing we know: the charger's word counts, or its silence."""
    assert states(bench.answer(call_of(bench.send()), body, status)) == ["accepted"]
    assert states(bench.respond()) == ["confirmed"]
    assert states(bench.answer(call_of(bench.send("stop")), body, status)) == ["accepted"]
    assert states(bench.pass_s(20)) + states(bench.pass_s(10)) == ["unconfirmed"]


def test_a_ticket_in_capitals_is_a_ticket(bench):
    """Keys with a capital and keys nobody knows are read past, and the ticks are told."""
    body = b'{"Device":"EH123456","CommandId":25,"Ticks":%d,"Extra":[1]}' % TICKS
    (answer,) = answers(bench.answer(call_of(bench.send()), body))

    assert (answer["state"], answer["ticks"]) == ("accepted", str(TICKS))
    assert states(bench.respond()) == ["confirmed"]


def over(bench, call):
    """End a request whose outcome cannot be learned."""
    return bench.fail(call, OutcomeUnknown("timeout"))


def lost(bench, _call):
    """Let the time of a request pass that nobody ends."""
    return bench.pass_s(36)


@pytest.mark.parametrize("end", [over, lost])
@pytest.mark.parametrize("accepted", [True, False])
def test_a_charger_that_answers_before_the_cloud_is_believed_when_the_request_is_over(
    bench, end, accepted
):
    """While it hangs the cloud may still tell other ticks; then the charger's word is the end."""
    call = call_of(bench.send("toggle"))
    assert not states(bench.respond(command_id=call_id_of("toggle"), accepted=accepted))
    assert not states(bench.pass_s(20))
    (answer,) = answers(end(bench, call))
    state = "confirmed" if accepted else "rejected"
    assert (answer["state"], answer["http_status"]) == (state, None)
    assert not bench.answer(call, ticket())
    bench.pass_s(1)
    assert bench.journal.deadline_s() is None


def test_ticks_that_are_told_late_decide_all_the_same(bench):
    """What somebody else's command got, long before our request was answered, is not ours."""
    call = call_of(bench.send())
    bench.respond(TICKS + 1)
    bench.pass_s(25)
    assert states(bench.answer(call, ticket())) == ["accepted"]
    assert [response.ticks for response in bench.foreign] == [TICKS + 1]
    assert states(bench.respond(accepted=False)) == ["rejected"]


def test_somebody_elses_early_response_ends_nothing(bench):
    """A response with another command's id does not cut the wait for the cloud short."""
    call = call_of(bench.send())
    bench.respond(TICKS + 1, command_id=1)
    assert not bench.pass_s(5)
    assert states(bench.answer(call, ticket())) == ["accepted"]


def call_id_of(name):
    """The vendor's id of a command."""
    return CATALOGUE[name].response_ids[0]


def test_our_own_budget_makes_a_command_wait(bench):
    """What our budget holds back is sent when there is room, whatever it is."""
    local = RateLimited("the budget is spent", retry_after_s=20.0, local=True)
    assert not states(bench.fail(call_of(bench.send("toggle")), local))
    assert not calls_of(bench.pass_s(19.9))

    assert call_of(bench.pass_s(0.1)).request.path.endswith("toggle_charging")


def test_what_the_budget_holds_back_beyond_its_time_is_expired(bench):
    """It was never sent, so it expires; at once, for a stop may wait behind it."""
    local = RateLimited("the request budget is spent", retry_after_s=61.0, local=True)
    call = call_of(bench.send("authorization_required", b"on"))
    bench.send("stop")
    effects = bench.fail(call, local)

    (answer,) = answers(effects)
    assert (answer["state"], answer["reason"], answer["http_status"]) == ("expired", None, None)
    assert "budget" in answer["detail"]
    assert call_of(effects).request.path.endswith("stop_charging")


def test_an_id_and_the_same_correlation_data_are_one_name(bench):
    """The same name in either place is carried out once and answered twice, each its own way."""
    asked = {"response_topic": "charger/reply/x"}
    call = call_of(bench.send("toggle", b'{"id":"a"}', **asked))
    again = bench.send("toggle", correlation=b"a", **asked)
    assert not calls_of(again)
    effects = bench.answer(call, b"[]")
    assert [e.correlation for e in effects if getattr(e, "topic", "") == "charger/reply/x"] == [
        None,
        b"a",
    ]
    (conflict,) = answers(bench.send("start", correlation=b"a"))
    assert conflict["reason"] == "conflict"


def test_the_id_names_a_command_that_has_both(bench):
    """Request libraries draw new Correlation Data for every message: the id outlives it."""
    first = bench.send("toggle", b'{"id":"a"}', correlation=b"1")
    assert calls_of(first)
    bench.answer(call_of(first), b"[]")
    assert states(bench.send("toggle", b'{"id":"a"}', correlation=b"2")) == ["noop"]
    assert calls_of(bench.send("toggle", correlation=b"1"))


def test_what_has_no_charger_behind_it_is_confirmed_by_the_cloud(bench):
    """An access level is the cloud's own: a 200 confirms it."""
    call = call_of(bench.send("access_level", b"open"))

    assert states(bench.answer(call, b"", status=200)) == ["confirmed"]


def test_an_early_no_or_yes_in_the_answer_counts(bench):
    """Some 200 answers already are the charger's verdict."""
    said_no = b'{"id":25,"wasAccepted":false,"resultCode":4}'
    said_yes = b'{"id":25,"wasAccepted":true,"resultCode":3}'

    assert states(bench.answer(call_of(bench.send()), said_no, 200)) == ["accepted", "rejected"]
    assert states(bench.answer(call_of(bench.send()), said_yes, 200)) == ["accepted", "confirmed"]


def test_all_tickets_of_a_settings_answer_are_waited_for(bench):
    """A settings call with two tickets is confirmed by two responses."""
    body = b"[" + ticket(TICKS, 42) + b"," + ticket(TICKS + 1, 15) + b"]"
    bench.answer(call_of(bench.send("authorization_required", b"true")), body)

    assert not bench.respond(TICKS + 1, 15)
    (answer,) = answers(bench.respond(TICKS, 42))
    assert answer["state"] == "confirmed"
    assert "local_pre_authorize_enabled becomes false" in answer["detail"]


def test_an_unreadable_2xx_is_taken_and_watched(bench):
    """HTML with a 202 still means the cloud took it; the charger tells the rest."""
    effects = bench.answer(call_of(bench.send()), b"<html>")

    assert states(effects) == ["accepted"]
    assert states(bench.respond(ticks=None)) == ["confirmed"]


def test_a_2xx_whose_body_cannot_be_had_is_taken_and_watched(bench):
    """The status was read: accepted with it, not sent again, and the charger has the last word."""
    error = AnswerUnusable("too large", status=202, reason="answer_too_large")
    (answer,) = answers(bench.fail(call_of(bench.send("toggle")), error))
    assert (answer["state"], answer["http_status"]) == ("accepted", 202)
    assert states(bench.respond(ticks=None)) == ["confirmed"]
    bench.fail(call_of(bench.send("pause")), AnswerUnusable("cut", status=200))
    assert not calls_of([e for e in bench.pass_s(29) if not _looks(e)])
    assert states(bench.pass_s(1)) == ["unconfirmed"]


def _looks(effect):
    return isinstance(effect, SendRequest) and effect.request.method == "GET"


def test_a_refresh_without_an_answer_leaves_nothing_in_doubt(bench):
    """It only asks: too large is said at once, anything else is asked again while there is time."""
    large = AnswerUnusable("the answer is over 1024 KiB", status=200, reason="answer_too_large")
    (answer,) = answers(bench.fail(call_of(bench.send("refresh")), large))
    assert (answer["state"], answer["reason"], answer["http_status"]) == (
        "failed",
        "answer_too_large",
        200,
    )
    for lost in (AnswerUnusable("cut", status=200), OutcomeUnknown("read timeout")):
        call = call_of(bench.send("refresh", b'{"ttl_s":2}'))
        bench.fail(call, lost)
        call = call_of(bench.pass_s(1))
        (answer,) = answers(bench.fail(call, lost))
        assert (answer["state"], answer["reason"]) == ("failed", "cloud_unavailable")


def test_refresh_applies_what_it_read(bench):
    """The answer to ``refresh`` is applied, and that is its confirmation."""
    body = b'{"observations":[{"id":48,"value":16,"timestamp":"2026-11-22T12:00:00Z"}]}'
    effects = bench.answer(call_of(bench.send("refresh")), body, 200)

    assert states(effects) == ["confirmed"]
    (event,) = bench.read
    assert isinstance(event, ObservationsReceived)
    assert [raw.id for raw in event.observations] == [48]
    assert states(bench.answer(call_of(bench.send("refresh")), b"<html>", 200)) == ["failed"]


# -- who answers whom --------------------------------------------------------------------------


def test_a_response_may_overtake_the_clouds_answer(bench):
    """What the charger says before the cloud has answered is kept and counts."""
    call = call_of(bench.send())
    assert not bench.respond()

    assert states(bench.answer(call, ticket())) == ["accepted", "confirmed"]


def test_a_response_to_the_one_before_is_not_kept_for_the_next(bench):
    """Exact ticks name an earlier command even while a later one awaits the cloud's answer."""
    bench.answer(call_of(bench.send("pause")), ticket(TICKS, 48))
    bench.send("resume")

    assert states(bench.respond(TICKS, 48)) == ["confirmed"]


def test_an_observation_may_overtake_the_clouds_answer(bench):
    """A proof that comes before the cloud's answer counts when that is in."""
    call = call_of(bench.send("pause"))
    assert not bench.observe(48, 0)

    assert states(bench.answer(call, ticket(command_id=48))) == ["accepted", "confirmed"]


def test_foreign_responses_are_told_apart(bench):
    """A response that none of our commands caused is not one of ours, and is announced."""
    bench.answer(call_of(bench.send()), ticket())
    bench.respond(TICKS + 1, 48)

    assert [response.command_id for response in bench.foreign] == [48]


def test_an_early_response_of_somebody_else_is_announced_later(bench):
    """A response that came while the cloud's answer was awaited may turn out to be foreign."""
    call = call_of(bench.send())
    for _ in range(20):
        bench.respond(TICKS + 1, 48)
    assert len(bench.foreign) == 4
    effects = bench.answer(call, ticket())

    assert states(effects) == ["accepted"]
    assert len(bench.foreign) == 20


def test_a_late_response_to_a_proved_command_is_ours(bench):
    """A command that an observation confirmed is still answered by the charger."""
    bench.answer(call_of(bench.send("pause")), ticket(command_id=48))
    bench.observe(48, 0)

    assert not bench.respond(TICKS, 48)
    assert not bench.foreign
    bench.pass_s(31)
    bench.respond(TICKS, 48)
    assert len(bench.foreign) == 1


def test_a_change_of_ours_is_expected(bench):
    """What our own command moves is no touch of somebody at the charger."""
    assert not bench.journal.expects(ID, 102, bench.now)
    bench.answer(call_of(bench.send("smart_charging", b"on")), ticket(command_id=11))
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

    (answer,) = answers(effects, "charger/")
    assert (answer["state"], answer["final"], answer["reason"]) == ("refused", True, reason)
    assert answer["detail"]
    assert not calls_of(effects)
    assert Acknowledge(AckToken(1, 1, 1)) in effects
    assert bench.journal.deadline_s() is None


def test_a_hostile_topic_gets_no_topic_of_its_own(bench):
    """A name that is no topic level is acknowledged and answered nowhere but where allowed."""
    effects = bench.send("sta rt", charger_id="../x", response_topic="charger/reply/a")

    (publish,) = (e for e in effects if isinstance(e, Publish))
    assert publish.topic == "charger/reply/a"
    (note,) = (e for e in effects if isinstance(e, LogEntry))
    assert note.fields == {"charger_id": None, "command": None, "reason": "unknown_charger"}


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
    bench.answer(call_of(bench.send("toggle", b'{"id":"a"}')), ticket(command_id=48))
    (first,) = answers(bench.respond(TICKS, 48))
    bench.mono_s += 3600
    again = bench.send("toggle", b'{"id":"a"}', response_topic="charger/reply/x")

    assert answers(again) == [first] == answers(again, "charger/reply/x")
    assert not calls_of(again)


def test_a_repetition_while_it_runs_waits_for_the_same_answer(bench):
    """Whoever repeats a running command is answered too, and nothing is sent again."""
    call = call_of(bench.send("start", b"1", correlation=b"c"))
    again = bench.send("start", b"1", correlation=b"c")
    assert not calls_of(again)
    assert states(bench.answer(call, ticket())) == ["accepted", "accepted"]
    assert states(bench.send("start", b"1", correlation=b"c")) == ["accepted"]

    assert states(bench.respond()) == ["confirmed"] * 3
    for _ in range(12):
        effects = bench.send("pause", b'{"id":"p"}')
    assert answers(effects)[0]["reason"] == "busy"


def test_the_same_id_with_another_content_is_a_conflict(bench):
    """An id stands for one command and one value; on another charger it is another command."""
    bench.send("dynamic_charger_current", b'{"value":16,"id":"a"}')

    for command, payload in (("dynamic_charger_current", b'{"value":17,"id":"a"}'),
                             ("pause", b'{"id":"a"}')):  # fmt: skip
        (answer,) = answers(bench.send(command, payload))
        assert (answer["id"], answer["reason"]) == ("a", "conflict")
    assert calls_of(bench.send("pause", b'{"id":"a"}', charger_id=OTHER))


# -- order, time and trouble -------------------------------------------------------------------


def test_commands_of_one_charger_go_one_after_the_other(bench):
    """The next one goes when the cloud has answered the one before; other chargers do not wait."""
    first = call_of(bench.send("pause"))
    assert not calls_of(bench.send("resume"))
    assert calls_of(bench.send("pause", charger_id=OTHER))
    second = call_of(bench.answer(first, ticket(command_id=48)))

    assert second.request.path.endswith("resume_charging")


def test_four_calls_at_most(bench):
    """A fifth charger waits until one of four calls is answered, and is then served."""
    bench.known = tuple(f"EH00000{n}" for n in range(6))
    calls = [calls_of(bench.send(charger_id=charger_id)) for charger_id in bench.known]
    assert [len(made) for made in calls] == [1, 1, 1, 1, 0, 0]
    bench.send(charger_id=bench.known[0])
    following = call_of(bench.answer(calls[0][0], b"[]"))
    assert following.request.scope == bench.known[4]


def test_beyond_20_waiting_the_answer_is_busy(bench):
    """One command is under way, 20 wait, and the next is refused without a delay."""
    effects = [bench.send() for _ in range(22)]

    assert [answers(e) for e in effects[:21]] == [[]] * 21
    assert answers(effects[21])[0]["reason"] == "busy"


@pytest.mark.fault("F24")
def test_what_waited_too_long_expires(bench):
    """A command whose time ends in the queue is never sent, and says so in time."""
    call = call_of(bench.send("pause"))
    bench.send("resume", b'{"ttl_s":5,"id":"r"}')
    assert bench.journal.deadline_s() == 1005.0
    effects = bench.pass_s(5)
    assert states(effects) == ["expired"]
    assert not calls_of(bench.answer(call, b"[]"))


@pytest.mark.fault("F24")
def test_an_event_that_comes_before_the_tick_sends_nothing_late(bench):
    """The time is looked at right before the sending, not only when a tick comes."""
    call = call_of(bench.send("pause"))
    bench.send("resume", b'{"ttl_s":5}')
    bench.mono_s += 5
    assert not calls_of(bench.answer(call, b"[]"))
    assert states(bench.pass_s(0)) == ["expired"]


def test_a_deadline_in_the_past_expires_at_once(bench):
    """``expires_at`` that has passed on a trusted clock is answered without a queue."""
    effects = bench.send("start", b'{"expires_at":"2026-11-22T11:59:59Z"}')

    assert states(effects) == ["expired"]
    assert not calls_of(effects)
    bench.pass_s(1)
    assert bench.journal.deadline_s() is None


def test_trouble_is_retried_inside_its_time(bench):
    """503 is tried again after 1, 2, 4 s, and in order; the time the cloud names counts more."""
    call = call_of(bench.send("pause"))
    bench.send("resume")
    for wait_s in (1, 2, 4):
        assert not calls_of(bench.fail(call, CloudUnavailable("503", status=503)))
        assert not calls_of(bench.pass_s(wait_s - 0.1))
        call = call_of(bench.pass_s(0.1))
        assert call.request.path.endswith("pause_charging")
    bench.fail(call, RateLimited("429", retry_after_s=20.0))
    assert bench.journal.deadline_s() == bench.mono_s + 20.0
    call = call_of(bench.pass_s(20))
    assert call.within_s == 30.0
    (answer,) = answers(bench.fail(call, RateLimited("429", retry_after_s=40.0)))
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
    effects = bench.fail(call_of(bench.send(command)), error)
    for _ in range(40):
        effects += bench.pass_s(1)

    assert states(effects) == [state]
    assert len(calls_of(bench.effects)) == 1


def test_what_found_no_connection_may_still_go_out(bench):
    """It was certainly not sent, so even a toggle is tried again while there is time."""
    call = call_of(bench.send("toggle", b'{"ttl_s":5}'))
    for wait_s in (1, 2):
        bench.fail(call, CloudUnavailable("cannot connect"))
        call = call_of(bench.pass_s(wait_s))

    assert states(bench.answer(call, ticket())) == ["accepted"]


@pytest.mark.parametrize(("error", "reason"), [(307, "rate_limited"), (429, "rate_limited")])
def test_a_redirect_to_a_rate_limiter_ends_as_a_429_does(bench, error, reason):
    """The same state and reason; the status is the one that was seen."""
    limited = RateLimited("away", retry_after_s=120.0, status=error)
    (answer,) = answers(bench.fail(call_of(bench.send("pause")), limited))

    assert (answer["state"], answer["reason"], answer["http_status"]) == ("failed", reason, error)


def test_our_own_budget_only_delays(bench):
    """What our own budget held back was not sent, so even a toggle may still go out."""
    call = call_of(bench.send("toggle"))
    bench.fail(call, RateLimited("budget", retry_after_s=5.0, local=True))

    assert calls_of(bench.pass_s(5))


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
    (answer,) = answers(bench.fail(call_of(bench.send("pause")), error))

    assert (answer["state"], answer["reason"], answer["http_status"]) == ("failed", reason, status)


def test_a_lost_answer_is_looked_for_at_the_charger(bench):
    """After a read timeout the charger's word decides; without one it stays unknown."""
    bench.fail(call_of(bench.send()), OutcomeUnknown("read timeout"))
    assert states(bench.respond(ticks=TICKS)) == ["confirmed"]

    bench.fail(call_of(bench.send("pause")), OutcomeUnknown("read timeout"))
    assert states(bench.observe(48, 0)) == ["confirmed"]

    call = call_of(bench.send("pause"))
    bench.observe(48, 0)
    assert states(bench.fail(call, OutcomeUnknown("read timeout"))) == ["confirmed"]

    bench.mono_s += 100
    call = call_of(bench.send("resume"))
    bench.mono_s += 10
    bench.fail(call, OutcomeUnknown("read timeout"))
    assert not states(bench.pass_s(19.9))
    assert states(bench.pass_s(0.1)) == ["unknown"]


def test_a_call_that_is_never_answered_does_not_hold_the_lane(bench):
    """If an adapter loses a call, the command is in doubt and the next one goes."""
    bench.send("toggle")
    bench.send("pause")
    effects = bench.pass_s(30 + GRACE_S)
    assert states(effects) == ["unknown"]
    assert call_of(effects).request.path.endswith("pause_charging")
    bench.send("dynamic_circuit_current", b"10", charger_id=OTHER)
    assert call_of(bench.pass_s(35)).request.path.endswith("/site")


def test_events_of_unknown_calls_are_harmless(bench):
    """An answer to a call nobody made changes nothing."""
    assert not bench.take(
        bench.journal.answered(CloudResponse(Tag("commands", 99), 200, b""), bench.now)
    )
    error = CloudFailed(Tag("commands", 99), CloudUnavailable("x"))
    assert not bench.take(bench.journal.failed(error, bench.now))


def test_removing_a_plan_that_is_not_there_is_nothing_to_do(bench):
    """404 to a deletion means it is gone, which is what was asked for."""
    gone = CloudRejected("no plan", status=404, reason="not_found")

    assert states(bench.fail(call_of(bench.send("weekly_charge_plan", b"off")), gone)) == ["noop"]


# -- circuits ----------------------------------------------------------------------------------


def test_a_circuit_is_looked_up_once(bench):
    """Site and circuit are asked for before the first limit and remembered for the next."""
    lookup = call_of(bench.send("dynamic_circuit_current", b"10"))
    assert (lookup.request.path, lookup.request.command) == (f"/api/chargers/{ID}/site", True)
    call = call_of(bench.answer(lookup, SITE, 200))
    assert call.request.path == "/api/sites/7/circuits/9/dynamicCurrent"
    assert states(bench.answer(call, b"", 200)) == ["accepted"]
    assert states(bench.respond(TICKS, 22, charger_id=OTHER)) == ["confirmed"]
    again = call_of(bench.send("max_circuit_current", b"20"))
    assert again.request.path == "/api/sites/7/circuits/9/settings"
    bench.answer(again, b"", 200)
    assert not bench.observe(22, 20)
    assert not bench.observe(23, 20)
    assert states(bench.observe(24, 20)) == ["confirmed"]


def test_a_charger_without_a_circuit_says_so(bench):
    """A lookup that finds no circuit fails the command; one that is refused gives its reason."""
    effects = bench.answer(call_of(bench.send("max_circuit_current", b"20")), b'{"id":7}', 200)
    assert answers(effects)[0]["reason"] == "no_circuit"
    forbidden = CloudRejected("installers only", status=403, reason="forbidden")
    effects = bench.fail(call_of(bench.send("max_circuit_current", b"20")), forbidden)
    assert answers(effects)[0]["reason"] == "forbidden"


def test_a_lookup_is_repeated_but_never_late(bench):
    """A lost lookup is asked again; an answer after the command's time sends nothing."""
    lookup = call_of(bench.send("dynamic_circuit_current", b'{"value":10,"ttl_s":10}'))
    bench.fail(lookup, OutcomeUnknown("read timeout"))
    lookup = call_of(bench.pass_s(1))
    assert states(bench.pass_s(9)) == ["expired"]
    assert not bench.answer(lookup, SITE, 200)
    assert call_of(bench.send("dynamic_circuit_current", b"10")).request.path.startswith(
        "/api/sites"
    )


def test_a_late_failure_of_a_lookup_is_harmless(bench):
    """A lookup that fails after its command expired says nothing twice."""
    lookup = call_of(bench.send("dynamic_circuit_current", b'{"value":10,"ttl_s":10}'))
    bench.pass_s(10)
    assert not bench.fail(lookup, CloudUnavailable("x"))
    lookup = call_of(bench.send("dynamic_circuit_current", b'{"value":10,"ttl_s":10}'))
    bench.pass_s(10)
    assert not bench.answer(lookup, b"<html>", 200)


# -- order, over random failures ----------------------------------------------------------------


@given(st.lists(st.sampled_from(["start", "pause", "override_schedule"]), min_size=1, max_size=15))
def test_commands_of_one_charger_are_sent_in_order(names):
    """Whatever fails in between, commands leave in the order they came."""
    bench, sent = Bench(), []
    for name in names:
        sent += calls_of(bench.send(name))
    for number in range(4 * len(names)):
        if number >= len(sent):
            break
        failed = number % 3 == 0 and (number == 0 or sent[number] != sent[number - 1])
        error = CloudUnavailable("503", status=503)
        sent += calls_of(bench.fail(sent[number], error) if failed else bench.answer(sent[number]))
        if failed:
            sent += calls_of(bench.pass_s(1))
    order = [call.request.path.rsplit("/", 1)[1].removesuffix("_charging") for call in sent]
    assert [name for name, _ in itertools.groupby(order)] == [
        name for name, _ in itertools.groupby(names)
    ]


# -- age ---------------------------------------------------------------------------------------


@pytest.fixture
def resumed(bench):
    """The broker has just resumed our session, and may deliver what waited there."""
    bench.journal.disconnected()
    bench.journal.connected(bench.now, session_present=True)
    return bench


ENERGIZING = [
    ("start", b"PRESS"),
    ("authorize", b"PRESS"),
    ("resume", b"PRESS"),
    ("toggle", b"PRESS"),
    ("override_schedule", b"PRESS"),
    ("dynamic_charger_current", b"16"),
    ("max_charger_current", b"16"),
]
HARMLESS = [
    ("stop", b"PRESS"),
    ("pause", b"PRESS"),
    ("dynamic_charger_current", b"0"),
    ("refresh", b"PRESS"),
]


@pytest.mark.parametrize(("command", "payload"), ENERGIZING)
def test_what_may_have_waited_must_not_start_a_charge(resumed, command, payload):
    """Nobody knows how old it is, so it is refused; five seconds later it is taken."""
    effects = resumed.send(command, payload)
    assert answers(effects)[0]["reason"] == "age_unknown"
    assert not calls_of(effects)

    resumed.mono_s += 5
    assert calls_of(resumed.send(command, payload))
    again = resumed.send(command, payload, charger_id=OTHER, duplicate=True)
    assert answers(again, f"charger/{OTHER}")[0]["reason"] == "age_unknown"


@pytest.mark.parametrize(("command", "payload"), HARMLESS)
def test_what_can_only_stop_a_charge_is_taken_at_any_age(resumed, command, payload):
    """Stopping late is better than not at all."""
    assert calls_of(resumed.send(command, payload))


def test_a_limit_is_a_raise_unless_it_is_known_to_be_none(resumed):
    """At or below the value the charger shows is no raise."""
    resumed.observe(48, 16)

    assert answers(resumed.send("dynamic_charger_current", b"20"))[0]["reason"] == "age_unknown"
    assert states(resumed.send("dynamic_charger_current", b"16")) == ["noop"]
    assert calls_of(resumed.send("dynamic_charger_current", b"10"))


@pytest.mark.parametrize(
    ("payload", "facts", "trusted", "taken"),
    [
        (b"PRESS", {"expiry_s": 30}, True, True),
        (b'{"expires_at":"2026-11-22T12:00:30Z"}', {}, True, True),
        (b'{"expires_at":"2026-11-22T12:00:30Z"}', {}, False, False),
        (b'{"ttl_s":30}', {}, True, False),
    ],
)
def test_a_time_of_its_own_tells_the_age(resumed, payload, facts, trusted, taken):
    """A deadline or the broker's expiry does; ``ttl_s`` counts from here; no clock, no deadline."""
    resumed.trusted = trusted

    assert bool(calls_of(resumed.send("start", payload, **facts))) is taken


@pytest.mark.parametrize(("command", "payload"), ENERGIZING)
def test_what_may_be_retained_starts_no_charge_where_that_is_wished(command, payload):
    """Only on a connection that cannot tell, and only where the configuration says so."""
    for wish, unsure, taken in (
        ("run", True, True),
        ("refuse_energizing", False, True),
        ("refuse_energizing", True, False),
    ):
        bench = Bench()
        bench.journal.allow(CommandSettings(allow=bench.allow, unsure_retained=wish))
        bench.journal.is_unsure_of_retained = unsure
        effects = bench.send(command, payload)
        assert bool(calls_of(effects)) is taken
        if not taken:
            (answer,) = answers(effects)
            assert answer["reason"] == "retained"
            assert "unsure_retained" in answer["detail"]
            assert calls_of(bench.send("stop"))


@pytest.fixture
def back(bench):
    """A bridge that was away for ten hours, and whose session the broker has kept."""
    bench.journal.disconnected()
    bench.journal.connected(bench.now, session_present=True, waited_s=36_000.0)
    return bench


@pytest.mark.parametrize(("command", "payload"), [*ENERGIZING, *HARMLESS])
def test_what_may_have_waited_longer_than_it_lives_is_not_carried_out(back, command, payload):
    """Without a date nobody knows when it was sent: refused, once, and nothing leaves."""
    (answer,) = answers(back.send(command, payload))
    assert (answer["state"], answer["reason"]) == ("refused", "age_unknown")
    assert not calls_of(back.effects)


@pytest.mark.parametrize(
    ("payload", "facts", "state"),
    [
        (b"PRESS", {"expiry_s": 30}, None),
        (b"PRESS", {"expiry_s": 50_000}, "refused"),
        (b'{"expires_at":"2026-11-22T12:00:30Z"}', {}, None),
        (b'{"expires_at":"2026-11-22T02:00:30Z"}', {}, "expired"),
        (b'{"expires_at":"2026-11-23T12:00:00Z"}', {}, "refused"),
        (b'{"ttl_s":600}', {}, "refused"),
    ],
)
def test_a_date_tells_what_is_left_after_ten_hours(back, payload, facts, state):
    """One that is near is believed; one further away than any command lives says nothing."""
    effects = back.send("stop", payload, **facts)
    assert states(effects) == ([state] if state else [])
    assert bool(calls_of(effects)) is (state is None)


def test_what_expired_meanwhile_is_answered_once(back):
    """A message that the broker delivers again gets no second answer, hours later either."""
    payload = b'{"id":"a","expires_at":"2026-11-22T02:00:30Z"}'
    assert states(back.send("stop", payload, packet=7)) == ["expired"]
    back.mono_s += 20 * 3600
    back.journal.connected(back.now, session_present=True, waited_s=72_000.0)
    assert not answers(back.send("stop", payload, packet=7, duplicate=True))


def test_a_short_absence_is_taken_off_the_life(bench):
    """What may have waited 50 of its 60 s is sent within the 10 s that are left, or expires."""
    bench.journal.connected(bench.now, session_present=True, waited_s=50.0)
    call = call_of(bench.send("stop"))
    assert call.within_s <= 10.0
    bench.send("pause")
    assert states(bench.pass_s(10)) == ["expired"]


@pytest.mark.parametrize(("later_s", "left_s"), [(0.0, 9.0), (60.0, 10.0)])
def test_an_expiry_of_what_waited_is_a_second_shorter(bench, later_s, left_s):
    """The broker counts whole seconds: 10 that are left may be 9, unless it did not wait."""
    bench.journal.connected(bench.now, session_present=True, waited_s=20.0)
    bench.mono_s += later_s
    assert call_of(bench.send("stop", expiry_s=10)).within_s == left_s


def test_a_long_queue_is_old_to_its_end(bench):
    """What the broker hands over without a pause has waited; after a pause it is new."""
    bench.journal.connected(bench.now, session_present=True, waited_s=36_000.0)
    for _ in range(20):
        bench.mono_s += 0.5
        assert answers(bench.send("start"))[0]["reason"] == "age_unknown"
    bench.mono_s += 1.1
    assert calls_of(bench.send("start"))


@pytest.mark.parametrize(("command", "payload"), ENERGIZING)
def test_a_deadline_no_clock_can_judge_starts_nothing(bench, command, payload):
    """While the clock is not set, what could let a charge begin or grow is refused."""
    bench.trusted = False
    value = b'"PRESS"' if payload == b"PRESS" else payload
    timed = b'{"value":%s,"expires_at":"2026-11-22T12:00:30Z"}' % value
    (answer,) = answers(bench.send(command, timed, expiry_s=30))
    assert (answer["state"], answer["reason"]) == ("refused", "age_unknown")
    assert "clock" in answer["detail"]


def test_what_cannot_start_a_charge_runs_and_says_that_its_deadline_was_not_judged(bench):
    """Every answer of it names the reason, the final one too."""
    bench.trusted = False
    call = call_of(bench.send("stop", b'{"expires_at":"2026-11-22T12:00:30Z"}'))
    told = answers(bench.answer(call, ticket(command_id=26))) + answers(bench.respond(TICKS, 26))
    assert [answer["state"] for answer in told] == ["accepted", "confirmed"]
    assert all("clock is not set" in answer["detail"] for answer in told)


def test_before_the_broker_said_whether_it_knows_us_everything_may_be_old(bench):
    """What comes between two connections is not new."""
    bench.journal.disconnected()

    assert answers(bench.send("start"))[0]["reason"] == "age_unknown"
    bench.journal.connected(bench.now, session_present=False)
    assert calls_of(bench.send("start"))


# -- delivered again -----------------------------------------------------------------------------


def test_a_message_that_is_delivered_again_is_carried_out_once(bench):
    """The same packet with DUP is acknowledged once the first is on disk, and nothing else."""
    bench.disk = "hangs"
    bench.send("toggle", packet=7)
    assert not any(
        isinstance(e, Acknowledge) for e in bench.send("toggle", packet=7, duplicate=True)
    )
    effects = bench.commit()
    assert effects.count(Acknowledge(AckToken(1, 7, 1))) == 2
    assert len(calls_of(effects)) == 1
    effects = bench.send("toggle", packet=7, duplicate=True)
    facts = {"charger_id": ID, "command": "toggle"}
    assert effects == [
        LogEntry("info", "command.redelivered", facts),
        Acknowledge(AckToken(1, 7, 1)),
    ]


def test_a_refusal_that_is_delivered_again_stays_one(bench):
    """Its caller was told no; nothing is carried out behind that."""
    for _ in range(2 + MAX_WAITING_PER_CHARGER + RESERVED_PER_CHARGER):
        bench.send("stop")
    assert answers(bench.send("stop", packet=99))[0]["reason"] == "busy"
    bench.pass_s(60)

    assert not answers(bench.send("stop", packet=99, duplicate=True))


def test_without_a_session_a_packet_identifier_means_another_message(bench):
    """After a clean start the broker counts from 1 again."""
    bench.answer(call_of(bench.send("stop", packet=1)), b"[]")
    bench.journal.connected(bench.now, session_present=False)

    assert calls_of(bench.send("stop", packet=1, duplicate=True))


# -- trouble with the store ------------------------------------------------------------------------


@pytest.mark.parametrize("disk", ["fails", "hangs"])
@pytest.mark.parametrize(
    ("command", "payload"),
    [
        ("stop", b"PRESS"),
        ("deauthorize", b"PRESS"),
        ("pause", b"PRESS"),
        ("dynamic_charger_current", b"10"),
    ],
)
@pytest.mark.fault("F5")
def test_without_a_store_a_charge_can_still_be_stopped(bench, disk, command, payload):
    """What reduces is carried out, acknowledged, and says that nothing was written down."""
    bench.observe(48, 16)
    bench.disk = disk
    effects = bench.send(command, payload, packet=7)
    if disk == "hangs":
        effects = bench.pass_s(5)
    assert Acknowledge(AckToken(1, 7, 1)) in effects
    (answer,) = answers(bench.answer(call_of(effects), ticket()))
    assert (answer["state"], answer["final"]) == ("accepted", False)
    assert "the journal could not be written" in answer["detail"]


@pytest.mark.fault("F5")
def test_what_was_not_written_twice_is_said_once(bench):
    """A command that the cloud defers leaves again, without the disk as before (seed 7200668)."""
    bench.disk = "fails"
    call = call_of(bench.send("stop"))
    bench.fail(call, RateLimited("429", retry_after_s=20.0))
    call = call_of(bench.pass_s(21))
    (answer,) = answers(bench.answer(call, ticket()))

    assert answer["detail"].count("the journal could not be written") == 1


@pytest.mark.fault("F5")
def test_a_disk_that_hangs_keeps_nobody_from_the_answer(bench):
    """What was carried out without the disk is answered without it too, also behind another."""
    bench.disk = "hangs"
    bench.send("stop", packet=7)
    bench.send("pause", packet=8)
    first = call_of(bench.pass_s(5))
    second = call_of(bench.answer(first, ticket(command_id=26)))
    told = bench.respond(command_id=26)
    assert [(a["command"], a["state"]) for a in answers(told)] == [("stop", "confirmed")]
    bench.answer(second, ticket(command_id=25))
    told = bench.respond(command_id=25)
    assert [(a["command"], a["state"]) for a in answers(told)] == [("pause", "confirmed")]

    bench.disk = "ok"
    while bench.pending:
        assert not answers(bench.commit())
    assert {row.state for row in bench.rows.values()} == {"confirmed"}


@pytest.mark.parametrize("disk", ["fails", "hangs"])
@pytest.mark.parametrize(("command", "payload"), [*ENERGIZING, ("refresh", b"PRESS")])
def test_without_a_store_the_rest_is_refused(bench, disk, command, payload):
    """Nothing is sent that would be forgotten; the message is acknowledged and answered once."""
    bench.disk = disk
    effects = bench.send(command, payload, packet=7)
    if disk == "hangs":
        effects = bench.pass_s(5)

    assert [(a["state"], a["reason"]) for a in answers(effects)] == [("refused", "storage")]
    assert Acknowledge(AckToken(1, 7, 1)) in effects
    assert not calls_of(effects)
    assert not answers(bench.pass_s(5))


def test_without_a_store_a_name_is_still_known(bench):
    """While the process lives, the same id is carried out once."""
    bench.disk = "fails"
    bench.answer(call_of(bench.send("stop", b'{"id":"a"}')), ticket(command_id=26))
    assert states(bench.respond(command_id=26)) == ["confirmed"]

    assert states(bench.send("stop", b'{"id":"a"}')) == ["confirmed"]


def test_a_refusal_for_the_store_is_no_last_word(bench):
    """When the store is well again, the same id may be asked for again."""
    bench.disk = "fails"
    assert states(bench.send("start", b'{"id":"a"}')) == ["refused"]
    bench.disk = "ok"

    assert calls_of(bench.send("start", b'{"id":"a"}'))


def test_what_waits_for_its_turn_and_cannot_be_written_is_refused_at_once(bench):
    """It is not on disk at all, so nobody may count on it; what stops a charge waits on."""
    bench.send("start")
    bench.disk = "fails"
    effects = bench.send("toggle")
    assert [(a["command"], a["reason"]) for a in answers(effects)] == [("toggle", "storage")]
    assert "journal could not be written" in answers(effects)[0]["detail"]
    assert not answers(bench.send("pause"))
    assert [c.spec.name for c in bench.journal._active.live] == ["start", "pause"]


@pytest.mark.parametrize(
    ("first", "second", "word"),
    [
        (("start", b'{"id":"a"}'), ("pause", b'{"id":"a"}'), "another command"),
        (("dynamic_charger_current", b"10"), ("dynamic_charger_current", b"9"), "was asked for"),
    ],
)
def test_an_end_that_another_command_made_says_so(bench, first, second, word):
    """A person reads the answer; the word for programs is beside it."""
    bench.send("toggle")
    ends = answers(bench.send(*first) + bench.send(*second))

    assert word in ends[-1]["detail"]


def test_what_a_queue_holds_when_the_store_fails_is_decided_one_by_one(bench):
    """Behind a request in flight: what reduces goes on, the rest is refused at its turn."""
    call = call_of(bench.send("override_schedule"))
    bench.send("start")
    bench.send("pause")
    bench.disk = "fails"
    effects = bench.answer(call, ticket(command_id=63))

    assert [(a["command"], a["reason"]) for a in answers(effects) if a["final"]] == [
        ("start", "storage")
    ]
    assert call_of(effects).request.path.endswith("pause_charging")


def test_what_was_decided_without_the_store_is_written_when_it_is_well(bench):
    """The store must not go on believing that a refused command waits."""
    call = call_of(bench.send("override_schedule"))
    bench.send("start")
    bench.disk = "fails"
    bench.answer(call, ticket(command_id=63))
    assert sorted(row.state for row in bench.rows.values()) == ["leaving", "waiting"]
    bench.disk = "ok"
    bench.take(bench.journal.opened((), bench.now))
    assert sorted(row.state for row in bench.rows.values()) == ["accepted", "refused"]


def test_a_flood_for_one_charger_is_bounded_on_its_way_to_disk(bench):
    """Not more than 20 commands of a charger are written at a time; others are served."""
    bench.disk = "hangs"
    for number in range(100):
        bench.send("dynamic_charger_current", b"%d" % (6 + number % 20))
    assert len(bench.pending) <= 21
    bench.send("stop", charger_id=OTHER)
    sent = []
    while bench.pending:
        sent += calls_of(bench.commit())
    assert any(OTHER in call.request.path for call in sent)


def test_a_thousand_retained_commands_at_the_start_do_nothing(bench):
    """None is carried out, each is answered."""
    for number in range(1000):
        bench.send("start", b"PRESS", packet=number + 1, retained=True)

    assert not calls_of(bench.effects)
    assert [a["reason"] for a in answers(bench.effects)] == ["retained"] * 1000
