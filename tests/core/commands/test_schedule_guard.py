"""Schedule orders: looked up, confirmed by what the cloud holds, refused under OCPP."""

import json

import pytest

from bridge.core.commands.schedule_guard import READ_WITHIN_S
from bridge.core.domain_events import SchedulesRead, SchedulesWanted
from bridge.core.easee.schedules import Period, Schedule, Schedules
from bridge.errors import CloudRejected, OutcomeUnknown
from tests.core.commands.bench import (
    ID,
    OTHER,
    TICKS,
    Bench,
    answers,
    call_of,
    calls_of,
    states,
    ticket,
)

OSLO = "Europe/Oslo"
NIGHT = {"start": "22:00", "stop": "06:00", "amps": 16}
DAILY = json.dumps({"enabled": True, "timezone": OSLO, "periods": [NIGHT]}).encode()
SCHEDULE = Schedule(OSLO, (Period(22 * 60, 6 * 60, 16),))
IN_FORCE = Schedules("daily", daily=SCHEDULE)
DIRECT = Schedules("ocpp.direct", daily=SCHEDULE)
CONFLICT = CloudRejected("conflict", status=409, reason="conflict")
GONE = CloudRejected("none", status=404, reason="not_found")
BASE = f"/api/chargers/{ID}/schedules"


@pytest.fixture
def bench():
    """A fresh journal."""
    return Bench()


def read(bench, schedules, asked_s=None, charger_id=ID):
    """Have the cloud tell what it holds, asked now or earlier."""
    event = SchedulesRead(charger_id, schedules, bench.mono_s if asked_s is None else asked_s)
    return bench.take(bench.journal.schedules_read(event, bench.now))


def wanted(effects):
    """Return how often the schedules are asked for."""
    return sum(isinstance(one, SchedulesWanted) for one in effects)


def test_an_order_is_confirmed_by_what_the_cloud_holds(bench):
    """Accepted without a word of the charger, read back at once, and confirmed when it shows."""
    bench.answer(call_of(bench.send("daily_schedule", DAILY)), b"", status=200)
    assert wanted(bench.pass_s(0.2)) == 1
    assert states(read(bench, Schedules(), asked_s=bench.mono_s)) == []
    assert wanted(bench.pass_s(2.0)) == 1

    assert states(read(bench, IN_FORCE)) == ["confirmed"]
    assert wanted(bench.pass_s(60)) == 0


def test_the_charger_may_answer_first(bench):
    """Its response to the cloud's ticket confirms as for every other command."""
    bench.answer(call_of(bench.send("daily_schedule", DAILY)), ticket(command_id=60))

    assert wanted(bench.pass_s(1.0)) == 0
    assert states(bench.respond(TICKS, command_id=60)) == ["confirmed"]


def test_what_was_read_before_the_sending_proves_nothing(bench):
    """Nor do the schedules of another charger; after 30 s it is unconfirmed."""
    before_s = bench.mono_s - 1.0
    bench.answer(call_of(bench.send("daily_schedule", DAILY)), b"", status=200)

    assert states(read(bench, IN_FORCE, asked_s=before_s)) == []
    assert states(read(bench, IN_FORCE, charger_id=OTHER)) == []
    assert states(bench.pass_s(30)) == ["unconfirmed"]


def test_a_lost_answer_is_found_in_the_cloud(bench):
    """In doubt, never sent again, and confirmed by the readback."""
    bench.fail(call_of(bench.send("daily_schedule", DAILY)), OutcomeUnknown("cut"))
    effects = bench.pass_s(2.0)

    assert wanted(effects) == 1
    assert calls_of(effects) == []
    assert states(read(bench, IN_FORCE)) == ["confirmed"]


def test_an_order_of_an_earlier_process_is_looked_for(bench):
    """After a crash behind the request it is read back, and not sent again."""
    bench.send("daily_schedule", DAILY, packet=7)
    effects = [*bench.restart(), *bench.pass_s(3.0)]

    assert calls_of(effects) == []
    assert wanted(effects) >= 1
    assert states(read(bench, IN_FORCE)) == ["confirmed"]


@pytest.mark.parametrize("command", ["daily_schedule", "delayed_schedule", "basic_charge_plan"])
def test_a_conflict_says_who_decides(bench, command):
    """The vendor answers 409 while a local OCPP server controls the charger."""
    payload = {
        "daily_schedule": DAILY,
        "delayed_schedule": b'{"timezone":"UTC","periods":[{"start":"22:00"}]}',
        "basic_charge_plan": b'{"chargeStartTime":"2026-11-22T22:00:00Z"}',
    }[command]
    [answer] = answers(bench.fail(call_of(bench.send(command, payload)), CONFLICT))

    assert (answer["state"], answer["reason"]) == ("failed", "controlled_by_ocpp")
    assert "OCPP" in answer["detail"]


def test_a_conflict_of_another_command_keeps_its_own_reason(bench):
    """Only schedules are what OCPP takes away by a 409."""
    [answer] = answers(bench.fail(call_of(bench.send("start")), CONFLICT))

    assert answer["reason"] == "conflict"


def test_under_ocpp_an_order_is_refused_when_the_cloud_still_says_so(bench):
    """What was known before is asked again first; nothing is sent."""
    read(bench, DIRECT)
    bench.mono_s += 5.0
    effects = bench.send("daily_schedule", DAILY)
    assert wanted(effects)
    assert calls_of(effects) == []
    [answer] = answers(read(bench, DIRECT))

    assert (answer["state"], answer["reason"]) == ("refused", "controlled_by_ocpp")


def test_an_order_is_sent_when_ocpp_has_ended(bench):
    """The newer word counts."""
    read(bench, DIRECT)
    bench.mono_s += 5.0
    bench.send("daily_schedule", DAILY)

    assert call_of(read(bench, Schedules())).request.path == f"{BASE}/daily"


def test_without_a_newer_word_the_cloud_decides(bench):
    """A read that does not come holds an order up for some seconds only."""
    read(bench, DIRECT)
    bench.mono_s += 5.0
    bench.send("daily_schedule", DAILY)

    assert call_of(bench.pass_s(READ_WITHIN_S)).request.path == f"{BASE}/daily"


def test_removing_and_disabling_work_under_ocpp(bench):
    """They put nothing in force; and another charger is not concerned."""
    read(bench, DIRECT)
    bench.mono_s += 5.0

    assert call_of(bench.send("daily_schedule", b"clear")).request.method == "DELETE"
    assert call_of(bench.send("daily_schedule", DAILY, OTHER)).request.method == "POST"


def test_an_order_that_was_accepted_under_ocpp_is_rejected(bench):
    """The cloud took it, and what is in force says that it has no effect."""
    bench.answer(call_of(bench.send("weekly_schedule", b"on")), b"", status=200)
    [answer] = answers(read(bench, DIRECT))

    assert (answer["state"], answer["reason"]) == ("rejected", "controlled_by_ocpp")


def test_a_forgotten_charger_is_not_under_ocpp_any_more(bench):
    """Nothing is held of it."""
    read(bench, DIRECT)
    bench.journal.forget(ID)
    bench.mono_s += 1.0

    assert calls_of(bench.send("daily_schedule", DAILY))


# -- changes of what is there ----------------------------------------------------------------------

HELD = json.dumps(
    {
        "enabled": "daily",
        "delayed": None,
        "daily": {
            "timezone": OSLO,
            "periods": [{"startTime": "22:00:00", "stopTime": "06:00:00", "maximumAmps": 16}],
        },
        "weekly": None,
    }
).encode()


def test_a_change_reads_first_and_then_sends(bench):
    """One request for what is there, one that sets it with the change."""
    lookup = call_of(bench.send("daily_schedule", b'{"start":"23:00"}'))
    sent = call_of(bench.answer(lookup, HELD, status=200))

    assert (lookup.request.method, lookup.request.path) == ("GET", BASE)
    assert (sent.request.method, sent.request.path) == ("POST", f"{BASE}/daily")
    assert json.loads(sent.request.body)["periods"][0] == {
        "startTime": "23:00:00",
        "stopTime": "06:00:00",
        "maximumAmps": 16,
    }


def test_two_changes_follow_each_other(bench):
    """Each is made of what the one before left: read anew when that is confirmed."""
    first = call_of(bench.send("daily_schedule", b'{"start":"23:00"}'))
    assert calls_of(bench.send("daily_schedule", b'{"stop":"07:00"}')) == []
    post = call_of(bench.answer(first, HELD, status=200))
    assert calls_of(bench.answer(post, ticket(command_id=60))) == []
    second = call_of(bench.respond(TICKS, command_id=60))

    assert (second.request.method, second.request.path) == ("GET", BASE)


def test_a_change_of_nothing_is_refused(bench):
    """404 is an answer; without a time zone there is nothing to make a schedule of."""
    call = call_of(bench.send("daily_schedule", b'{"start":"23:00"}'))
    call = call_of(bench.fail(call, GONE))
    [answer] = answers(bench.fail(call, GONE))

    assert (answer["state"], answer["reason"]) == ("refused", "invalid_value")
    assert "holds no daily schedule" in answer["detail"]


def test_disabling_what_is_not_there_is_nothing_to_do(bench):
    """As removing it is; enabling it is not."""
    for payload, state in ((b"off", "noop"), (b"clear", "noop"), (b"on", "failed")):
        [answer] = answers(bench.fail(call_of(bench.send("daily_schedule", payload)), GONE))
        assert answer["state"] == state
    assert answer["reason"] == GONE.reason
    assert answer["detail"] == "the cloud holds no daily schedule: send one with its periods"


def test_an_order_that_waited_through_a_restart_is_sent_with_the_limit_of_now(bench):
    """A period without amps has ``commands.max_current_a``, and its id is known as the same."""
    payload = b'{"id":"a","timezone":"UTC","periods":[{"start":"22:00","stop":"06:00"}]}'
    bench.send("start")
    bench.send("daily_schedule", payload)
    call = calls_of(bench.restart())[0]

    assert call.request.path == f"{BASE}/daily"
    assert json.loads(call.request.body)["periods"][0]["maximumAmps"] == 32
    assert answers(bench.send("daily_schedule", payload)) == []


@pytest.mark.parametrize("command", ["start", "authorize", "rfid_pairing"])
def test_a_local_ocpp_server_decides_who_may_charge(bench, command):
    """What it took from the cloud is refused, when that was read behind the command's arrival."""
    read(bench, DIRECT)
    bench.pass_s(5)
    effects = bench.send(command)
    assert SchedulesWanted(ID) in effects
    assert not calls_of(effects)
    effects = read(bench, DIRECT)

    assert answers(effects)[-1]["reason"] == "controlled_by_ocpp"
    assert "decides who may charge" in answers(effects)[-1]["detail"]


@pytest.mark.parametrize("command", ["stop", "pause", "resume"])
def test_what_a_local_ocpp_server_leaves_to_the_cloud_is_sent(bench, command):
    """What can only end a charge is always tried, and so are limits."""
    read(bench, DIRECT)

    assert calls_of(bench.send(command))
