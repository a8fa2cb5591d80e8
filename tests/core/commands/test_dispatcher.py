import pytest

from bridge.core.commands.dispatcher import GRACE_S
from bridge.core.effects import Acknowledge, LogEntry, SaveCommand
from bridge.core.events import CloudResponse
from bridge.core.messages import AckToken
from bridge.errors import CloudRejected, CloudUnavailable, OutcomeUnknown, PublishUnconfirmed
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


def _path(effects):
    return call_of(effects).request.path.rsplit("/", 1)[-1]


def test_one_commit_comes_before_the_request_and_the_acknowledgement(bench):
    """A command of an idle charger is written once, as leaving; then both go out."""
    bench.disk = "hangs"
    effects = bench.send("toggle", packet=7)
    (save,) = [e for e in effects if isinstance(e, SaveCommand)]
    assert save.row.state == "leaving"
    assert not calls_of(effects)
    effects = bench.commit()
    assert Acknowledge(AckToken(1, 7, 1)) in effects
    assert _path(effects) == "toggle_charging"


@pytest.mark.parametrize("command", ["toggle", "pause"])
def test_what_waited_is_written_again_before_it_leaves(bench, command):
    """A command whose turn comes later is committed as leaving before its request."""
    first = call_of(bench.send("start"))
    bench.send(command)
    assert {row.state for row in bench.rows.values()} == {"leaving", "waiting"}
    bench.disk = "hangs"
    effects = bench.answer(first, ticket())
    assert "leaving" in [row.state for row in bench.pending if row.command == command]
    assert not calls_of(effects)
    bench.disk = "ok"
    sent = []
    while bench.pending:
        sent += calls_of(bench.commit())
    assert [call.request.path.rsplit("/", 1)[-1] for call in sent] == [f"{command}_charging"]


def test_an_older_row_on_disk_lets_nothing_leave(bench):
    """That it waits is on disk; that it leaves is not yet, so it does not."""
    bench.disk = "hangs"
    bench.send("start")
    call = call_of(bench.commit())
    bench.send("toggle")
    bench.answer(call, b"[]")
    sent = []
    while bench.pending:
        row = bench.pending[0]
        made = calls_of(bench.commit())
        assert not made or row.state == "leaving"
        sent += made
    assert len(sent) == 1


def test_time_that_runs_out_on_the_way_to_disk_sends_nothing(bench):
    """A commit that took too long ends the command, and it is acknowledged and answered."""
    bench.disk = "hangs"
    bench.send("start", b'{"ttl_s":1}')
    bench.mono_s += 1
    effects = bench.commit()
    assert not calls_of(effects)
    assert states(bench.commit()) == ["expired"]


def test_a_tick_expires_what_is_still_on_its_way_to_disk(bench):
    """The end does not wait for the store, only the answer does."""
    bench.disk = "hangs"
    bench.send("start", b'{"ttl_s":1}')
    bench.pass_s(1)
    assert not calls_of(bench.commit())
    assert states(bench.commit()) == ["expired"]


def test_a_circuit_keeps_all_its_chargers(bench):
    """While a circuit's limit is under way, nothing is sent to any charger on it."""
    lookup = call_of(bench.send("dynamic_circuit_current", b"10"))
    bench.answer(lookup, SITE, 200)
    limit = bench.effects[-1]
    assert not calls_of(bench.send("start", charger_id=OTHER))
    effects = bench.answer(limit, b"", 200)
    assert call_of(effects).request.path == f"/api/chargers/{OTHER}/commands/start_charging"


def test_a_circuit_waits_for_all_its_chargers(bench):
    """A circuit's limit goes when nothing is under way for, or earlier than it at, any of them."""
    busy = call_of(bench.send("start", charger_id=OTHER))
    bench.send("pause", charger_id=OTHER)
    effects = bench.answer(call_of(bench.send("dynamic_circuit_current", b"10")), SITE, 200)
    assert not calls_of(effects)
    pause = call_of(bench.answer(busy, ticket()))
    assert pause.request.path.endswith("pause_charging")
    bench.send("resume", charger_id=OTHER)
    assert _path(bench.answer(pause, ticket())) == "dynamicCurrent"


def test_the_newest_limit_counts(bench):
    """Limits that wait behind a request are superseded by the newest, which is sent."""
    first = call_of(bench.send("dynamic_charger_current", b"10"))
    bench.send("dynamic_charger_current", b"12")
    assert states(bench.send("dynamic_charger_current", b"14")) == ["superseded"]
    assert states(bench.send("dynamic_charger_current", b"16")) == ["superseded"]
    call = call_of(bench.answer(first, ticket(command_id=48)))

    assert call.request.body == b'{"amps":16,"minutes":0}'


def test_a_command_between_two_limits_keeps_them_apart(bench):
    """A limit set before a start is what the car starts with, whatever follows."""
    bench.send("smart_charging", b"on")
    for command, payload in (
        ("dynamic_charger_current", b"6"),
        ("start", b"PRESS"),
        ("dynamic_charger_current", b"16"),
    ):
        assert not states(bench.send(command, payload))


@pytest.mark.parametrize(
    ("earlier", "later", "ended"),
    [
        ("start", "stop", ["superseded"]),
        ("authorize", "deauthorize", ["superseded"]),
        ("start", "deauthorize", ["superseded"]),
        ("resume", "pause", ["superseded"]),
        ("stop", "start", []),
        ("pause", "resume", []),
        ("start", "pause", []),
        ("resume", "stop", []),
    ],
)
def test_a_stop_takes_the_place_of_a_start_and_never_the_other_way(bench, earlier, later, ended):
    """What was to begin and is to end again does not begin; what was to end does end."""
    bench.send("override_schedule")
    bench.send(earlier)

    assert states(bench.send(later)) == ended


def test_a_start_that_left_is_not_superseded(bench):
    """What is on its way is carried out, and the stop follows."""
    call = call_of(bench.send("start"))
    assert not states(bench.send("stop"))
    assert _path(bench.answer(call, ticket())) == "stop_charging"


@pytest.mark.parametrize(
    ("earlier", "later", "ended"),
    [
        ((b"true",), (b"true",), ["superseded"]),
        ((b"false",), (b"true",), []),
        ((b"true",), (b"false",), []),
    ],
)
def test_of_two_access_modes_the_later_one_counts(bench, earlier, later, ended):
    """Both true and neither sent: the earlier one is superseded and says by what."""
    bench.send("override_schedule")
    bench.send("authorization_required", *earlier)
    effects = bench.send("local_pre_authorize_enabled", *later)

    assert states(effects) == ended
    assert all("local_pre_authorize_enabled" in a["detail"] for a in answers(effects))


def test_what_is_there_already_needs_no_request(bench):
    """An equal limit is a noop, on disk and told, and nothing is sent."""
    bench.observe(48, 16)
    effects = bench.send("dynamic_charger_current", b'{"value":16,"id":"a"}')

    assert states(effects) == ["noop"]
    assert not calls_of(effects)
    assert [row.state for row in bench.rows.values()] == ["noop"]
    assert call_of(bench.send("dynamic_charger_current", b"20"))


def test_flash_budget_is_answered_at_once_and_holds_up_nobody(bench):
    """Whoever waits behind a refused setting goes on in the same moment."""
    call = call_of(bench.send("max_charger_current", b"20"))
    bench.send("max_charger_current", b"16")
    bench.send("stop")
    effects = bench.answer(call, ticket(command_id=47))

    assert [(a["state"], a["reason"]) for a in answers(effects)] == [
        ("accepted", None),
        ("refused", "flash_budget"),
    ]
    assert _path(effects) == "stop_charging"


def test_only_what_was_carried_out_counts_as_written(bench):
    """A row says that flash memory was written when it was, and not when the cloud said no."""
    rejected = CloudRejected("no", status=400, reason="bad_request")
    bench.fail(call_of(bench.send("enabled", b"true")), rejected)
    bench.answer(call_of(bench.send("enabled", b"false")), b"[]")
    bench.fail(call_of(bench.send("smart_button_enabled", b"true")), OutcomeUnknown("timeout"))

    assert [row.flash for row in bench.rows.values()] == [False, False, True]


def test_a_limit_sent_right_behind_a_resume_stands_afterwards(bench):
    """The resume's effect comes a second after its answer; the limit goes out behind it."""
    bench.observe(48, 0)
    resume = call_of(bench.send("resume"))
    bench.send("dynamic_charger_current", b"10")
    assert not calls_of(bench.answer(resume, ticket(command_id=48)))
    assert not calls_of(bench.respond(command_id=48))
    bench.pass_s(1)
    call = call_of(bench.observe(48, 32))
    assert call.request.body == b'{"amps":10,"minutes":0}'


def test_a_limit_behind_a_resume_does_not_wait_for_ever(bench):
    """An effect that is never seen is over after five seconds."""
    resume = call_of(bench.send("resume"))
    bench.send("dynamic_charger_current", b"10")
    bench.answer(resume, ticket(command_id=48))
    assert not calls_of(bench.pass_s(4.9))
    assert calls_of(bench.pass_s(0.2))


def test_commands_that_are_being_written_take_a_place_too(bench):
    """Four requests at most are under way, those on their way to disk included."""
    bench.known = tuple(f"EH00000{n}" for n in range(6))
    bench.disk = "hangs"
    for charger_id in bench.known:
        bench.send(charger_id=charger_id)

    assert [row.state for row in bench.pending] == ["leaving"] * 4 + ["waiting"] * 2


def test_a_lookup_that_is_answered_after_the_end_is_harmless(bench):
    """What the cloud says of a command that has its end changes nothing."""
    bench.answer(call_of(bench.send("pause")), ticket(command_id=48))
    look = call_of(bench.pass_s(20))
    bench.respond(command_id=48)
    assert look.tag.owner == bench.journal.name
    event = CloudResponse(look.tag, 200, b'{"wasAccepted":false}')
    assert bench.take(bench.journal.answered(event, bench.now)) == []
    assert not bench.fail(look, CloudUnavailable("x"))


def test_a_retry_keeps_its_place_and_its_row(bench):
    """What goes back to wait is written as waiting, and still goes before what came later."""
    call = call_of(bench.send("start"))
    bench.send("pause")
    effects = bench.fail(call, CloudUnavailable("503", status=503))
    facts = {"in_s": 1.0, "error": "503", "charger_id": ID, "command": "start"}
    assert LogEntry("debug", "command.retried", facts) in effects
    assert [row.state for row in bench.rows.values()] == ["waiting", "waiting"]
    assert _path(bench.pass_s(1)) == "start_charging"


def test_the_circuit_of_a_charger_that_left_is_looked_up_anew(bench):
    """It may hang on another one when it comes back; those of the others are still known."""
    for charger_id in (ID, OTHER):
        lookup = call_of(bench.send("dynamic_circuit_current", b"10", charger_id))
        bench.answer(call_of(bench.answer(lookup, SITE, 200)), b"", 200)
    bench.pass_s(30)
    bench.journal.forget("EH000000")
    bench.journal.forget(ID)

    call = call_of(bench.send("dynamic_circuit_current", b"12", OTHER))
    assert call.request.path.endswith("dynamicCurrent")
    bench.answer(call, b"", 200)
    assert _path(bench.send("dynamic_circuit_current", b"12")) == "site"


def test_each_silent_charger_is_asked_about_at_its_own_time(bench):
    """One whose turn to be asked comes later does not hold up the next."""
    bench.journal.stream(bench.now, is_up=False)
    bench.answer(call_of(bench.send()), ticket())
    bench.pass_s(1.5)
    bench.answer(call_of(bench.send(charger_id=OTHER)), ticket(TICKS + 9))
    first = call_of(bench.pass_s(0.5))
    second = call_of(bench.pass_s(1.5))

    assert first.request.path.endswith(f"/{TICKS}")
    assert second.request.path.endswith(f"/{TICKS + 9}")


def test_a_response_kept_for_a_request_that_came_to_nothing_is_somebody_elses(bench):
    """The cloud took nothing of ours, so what the charger answered was another one's command."""
    call = call_of(bench.send())
    bench.respond(TICKS + 1, 48)
    assert not bench.foreign
    bench.fail(call, CloudRejected("no", status=400, reason="bad_request"))

    assert [response.ticks for response in bench.foreign] == [TICKS + 1]


def test_what_comes_behind_a_circuits_retry_waits_at_all_its_chargers(bench):
    """Nothing overtakes, at the other charger of the circuit neither."""
    lookup = call_of(bench.send("dynamic_circuit_current", b"10"))
    call = call_of(bench.answer(lookup, SITE, 200))
    bench.fail(call, CloudUnavailable("503", status=503))

    assert not calls_of(bench.send(charger_id=OTHER))
    assert [_path([call]) for call in calls_of(bench.pass_s(4))] == ["dynamicCurrent"]


def test_behind_what_needs_no_request_the_next_goes_at_once(bench):
    """It does not wait for something else to happen."""
    bench.observe(48, 16)
    first = call_of(bench.send("max_charger_current", b"20"))
    bench.send("dynamic_charger_current", b"16")
    bench.send("reboot")
    effects = bench.answer(first, ticket(command_id=47))

    assert [s for s in states(effects) if s != "accepted"] == ["noop"]
    assert _path(effects) == "reboot"


def test_a_request_takes_no_longer_than_its_command_may_wait(bench):
    """It has what is left of the command, and 30 s at most; asking what became of it has 10 s."""
    (lookup,) = calls_of(bench.send("dynamic_circuit_current", b'{"value":10,"ttl_s":20}'))
    bench.mono_s += 5.0
    (sent,) = calls_of(bench.answer(lookup, SITE, 200))
    bench.journal.stream(bench.now, is_up=False)
    bench.answer(sent, b"[]")
    (look,) = calls_of(bench.pass_s(2.0))
    (late,) = calls_of(bench.send("start", b'{"ttl_s":600}', charger_id=OTHER))

    assert [call.within_s for call in (lookup, sent, look, late)] == [20.0, 15.0, 10.0, 30.0]


def test_a_request_is_open_until_it_is_answered(bench):
    """An answer belongs to one request, and a second answer to none."""
    call = call_of(bench.send())
    assert call.tag.owner == bench.journal.name
    bench.answer(call, ticket())
    assert bench.answer(call, ticket()) == []


def test_an_unanswered_lookup_frees_its_charger(bench):
    """A request that is not answered is lost once, and the command goes on from there."""
    bench.send("dynamic_circuit_current", b'{"value":10,"ttl_s":600}')
    assert calls_of(bench.pass_s(30.0 + GRACE_S - 0.1)) == []

    assert call_of(bench.pass_s(0.2)).request.path.endswith("/site")


# -- through the exchange of the partner feed -----------------------------------------------------

LIMIT = "dynamic_charger_current"


@pytest.fixture
def partner():
    """A journal whose commands may go through the exchange."""
    return Bench(uses_exchange=True)


def _ticks(call):
    return call.request.exchange.ticks


def test_what_the_exchange_may_carry_has_ticks_and_expiry_before_it_is_written_down(partner):
    """Both are in the request; the ticks are in the row that is committed before it leaves."""
    partner.disk = "hangs"
    partner.send(LIMIT, b'{"value":16,"ttl_s":20}')
    (row,) = partner.pending
    exchange = call_of(partner.commit()).request.exchange

    assert row.state == "leaving"
    assert str(exchange.ticks).encode() in row.body
    assert (exchange.expires_at - partner.now.wall).total_seconds() == 20.0


@pytest.mark.parametrize(("trusted", "uses_exchange"), [(False, True), (True, False)])
def test_without_a_clock_or_an_exchange_it_is_a_request_as_ever(trusted, uses_exchange):
    """An expiry by a clock that cannot be believed would be a wrong one."""
    bench = Bench(trusted=trusted, uses_exchange=uses_exchange)
    call = call_of(bench.send(LIMIT, b"16"))

    assert (call.request.exchange.ticks, call.request.exchange.expires_at) == (0, None)
    assert states(bench.answer(call, ticket(command_id=48))) == ["accepted"]
    assert states(bench.respond(command_id=48)) == ["confirmed"]


def test_a_confirmed_command_has_its_own_ticks_and_no_status_of_http(partner):
    """The exchange tells nothing but that it has it."""
    call = call_of(partner.send(LIMIT, b"16"))
    (accepted,) = answers(partner.answer(call, status=None))

    assert (accepted["state"], accepted["http_status"]) == ("accepted", None)
    assert accepted["ticks"] == str(_ticks(call))
    assert states(partner.respond(ticks=_ticks(call), command_id=48)) == ["confirmed"]


@pytest.mark.parametrize("accepted", [True, False])
def test_a_response_before_the_confirm_counts_when_that_comes(partner, accepted):
    """The queue may be faster than the confirm; a second response changes nothing."""
    call = call_of(partner.send(LIMIT, b"16"))
    assert not states(partner.respond(ticks=_ticks(call), command_id=48, accepted=accepted))
    effects = partner.answer(call, status=None)

    assert states(effects) == ["accepted", "confirmed" if accepted else "rejected"]
    assert not states(partner.respond(ticks=_ticks(call), command_id=48))
    assert partner.foreign == []


def test_a_response_with_other_ticks_is_of_another_program(partner):
    """While it is in flight, accepted or in doubt: own ticks decide."""
    call = call_of(partner.send(LIMIT, b"16"))
    partner.respond(ticks=1, command_id=48)
    partner.answer(call, status=None)
    assert [each.ticks for each in partner.foreign] == [1]
    partner.respond(ticks=2, command_id=48)
    assert [each.ticks for each in partner.foreign] == [1, 2]
    assert states(partner.respond(ticks=_ticks(call), command_id=48)) == ["confirmed"]


def test_what_was_not_confirmed_is_in_doubt_and_found_by_its_ticks(partner):
    """A lost channel or a refusal: the command is not sent again; the response ends it."""
    call = call_of(partner.send(LIMIT, b"16"))
    effects = partner.fail(call, PublishUnconfirmed("gone"))
    assert not [each for each in calls_of(effects) if each.request.method == "POST"]
    partner.respond(ticks=5, command_id=48)
    assert [each.ticks for each in partner.foreign] == [5]
    assert states(partner.respond(ticks=_ticks(call), command_id=48)) == ["confirmed"]


def test_what_nobody_answers_is_unconfirmed_or_unknown(partner):
    """30 s after the confirm, or after a publication that was not confirmed."""
    partner.answer(call_of(partner.send(LIMIT, b"16")), status=None)
    partner.fail(call_of(partner.send("reboot", charger_id=OTHER)), PublishUnconfirmed("gone"))
    partner.pass_s(29.9)

    assert sorted(states(partner.pass_s(0.2))) == ["unconfirmed"]
    assert answers(partner.effects, f"charger/{OTHER}/result/")[-1]["state"] == "unknown"


def test_what_went_over_rest_after_all_has_the_ticks_of_rest(partner):
    """The exchange gave it back: what REST answers counts, and what it leaves open has no ticks."""
    call = call_of(partner.send(LIMIT, b"16"))
    partner.answer(call, ticket(command_id=48))
    partner.respond(ticks=_ticks(call), command_id=48)
    assert [each.ticks for each in partner.foreign] == [_ticks(call)]
    assert states(partner.respond(command_id=48)) == ["confirmed"]

    call = call_of(partner.send("reboot", charger_id=OTHER))
    partner.fail(call, OutcomeUnknown("timeout"))
    effects = partner.respond(ticks=9, command_id=1, charger_id=OTHER)
    assert answers(effects, f"charger/{OTHER}/result/")[-1]["state"] == "confirmed"


def test_a_response_after_a_crash_finds_its_command_by_its_ticks(partner):
    """Killed with the command on its way: the queue brings the response to the next process."""
    call = call_of(partner.send("reboot"))
    partner.restart()
    assert not states(partner.respond(ticks=3, command_id=1))
    assert [each.ticks for each in partner.foreign] == [3]
    assert states(partner.respond(ticks=_ticks(call), command_id=1)) == ["confirmed"]
    assert not states(partner.respond(ticks=_ticks(call), command_id=1))


def test_another_attempt_has_ticks_of_its_own(partner):
    """What was certainly not sent is tried again, and named anew."""
    call = call_of(partner.send(LIMIT, b"16"))
    partner.fail(call, CloudUnavailable("no connection"))
    again = call_of(partner.pass_s(2))

    assert _ticks(again) > _ticks(call)
    partner.answer(again, status=None)
    assert states(partner.respond(ticks=_ticks(again), command_id=48)) == ["confirmed"]
