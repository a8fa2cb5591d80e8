import msgspec
import pytest
from msgspec.structs import replace

from bridge.core.commands.dispatcher import Purpose
from bridge.core.effects import Acknowledge, LogEntry
from bridge.core.messages import AckToken, Publish
from bridge.errors import CloudRejected, CloudUnavailable, OutcomeUnknown
from tests.core.commands.bench import (
    ID,
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


def _waiting(bench, command="pause", payload=b"PRESS"):
    """Let a command wait behind another one, whose end does not matter here."""
    bench.send("start", b'{"ttl_s":600}', charger_id=ID)
    bench.send(command, payload)
    (key,) = [key for key, row in bench.rows.items() if row.state == "waiting"]
    bench.rows = {key: bench.rows[key]}


def test_what_waited_goes_on_in_its_time(bench):
    """A command that was not sent before the crash is sent after it, with what time is left."""
    _waiting(bench, "toggle", b'{"ttl_s":20,"id":"t"}')
    bench.mono_s += 8
    call = call_of(bench.restart())

    assert call.request.path.endswith("toggle_charging")
    assert call.within_s == 12.0
    assert states(bench.answer(call, b"[]")) == ["noop"]


@pytest.mark.parametrize(
    ("trusted", "jump_s", "down_s"), [(True, 0, 61), (False, 0, 1), (True, -9, 1)]
)
def test_what_waited_too_long_or_nobody_knows_how_long_is_expired(bench, trusted, jump_s, down_s):
    """Only a wall clock that can be believed says that there is time left."""
    _waiting(bench)
    bench.mono_s += down_s
    bench.trusted, bench.jump_s = trusted, jump_s
    effects = bench.restart()

    assert states(effects) == ["expired"]
    assert not calls_of(effects)


@pytest.mark.parametrize("command", ["toggle", "reboot", "update_firmware", "rfid_pairing"])
@pytest.mark.fault("F3")
def test_what_may_have_left_is_not_sent_again(bench, command):
    """A non-idempotent command that was leaving is unknown, at once and only once."""
    bench.send(command)
    effects = bench.restart()
    if not states(effects):  # what could prove a pairing is nothing we ask for
        effects = bench.pass_s(30)

    assert states(effects) == ["unknown"]
    assert not [c for c in calls_of(bench.effects[1:]) if c.request.method == "POST"][1:]
    bench.pass_s(1)
    assert not states(bench.restart())


def test_what_may_have_left_is_looked_for(bench):
    """A pause in doubt is proved by what the charger reports after the restart, never resent."""
    bench.send("pause")
    bench.mono_s += 2
    assert not calls_of(bench.restart())
    look = call_of(bench.pass_s(3))
    assert look.request.path == f"/state/{ID}/observations?ids=48"
    assert states(bench.observe(48, 0, at_s=1)) == ["confirmed"]


def test_what_the_cloud_took_is_asked_for_by_its_ticks(bench):
    """An accepted command goes on being awaited, by response or by the cloud's record."""
    bench.answer(call_of(bench.send("toggle")), ticket(command_id=48))
    bench.restart()
    look = call_of(bench.pass_s(3))
    assert look.request.path == f"/api/commands/{ID}/48/{TICKS}"
    assert states(bench.fail(look, CloudUnavailable("404"))) == []
    assert states(bench.respond(command_id=48)) == ["confirmed"]


def test_in_doubt_stays_in_doubt(bench):
    """Two crashes in a row change nothing: 30 s after the last start it is unknown."""
    bench.fail(call_of(bench.send("pause")), OutcomeUnknown("timeout"))
    bench.restart()
    bench.mono_s += 10
    bench.restart()
    assert not states(bench.pass_s(29.9))
    assert states(bench.pass_s(0.1)) == ["unknown"]


def test_an_answer_that_nobody_has_is_told_again(bench):
    """What the broker did not acknowledge is published once more, and then no more."""
    bench.acks = False
    bench.answer(
        call_of(bench.send("start", response_topic="charger/reply/x", correlation=b"\x00")), b"[]"
    )
    bench.acks = True
    effects = bench.restart()

    assert states(effects) == ["noop"]
    (reply,) = [e for e in effects if isinstance(e, Publish) and e.topic == "charger/reply/x"]
    assert reply.correlation == b"\x00"
    bench.pass_s(1)
    assert not states(bench.restart())


def test_a_name_is_remembered_over_restarts_for_a_day(bench):
    """The same id is answered from the store, conflicts with another content, and lapses."""
    bench.answer(call_of(bench.send("toggle", b'{"id":"a"}')), b"[]")
    bench.restart()
    assert states(bench.send("toggle", b'{"id":"a"}')) == ["noop"]
    assert answers(bench.send("reboot", b'{"id":"a"}'))[0]["reason"] == "conflict"
    bench.mono_s += 24 * 3600 + 1
    bench.restart()
    assert calls_of(bench.send("toggle", b'{"id":"a"}'))


def test_a_running_name_is_remembered_too(bench):
    """Who repeats a command that was interrupted waits for its answer."""
    bench.send("pause", b'{"id":"a"}')
    bench.restart()
    assert not calls_of(bench.send("pause", b'{"id":"a"}'))
    assert states(bench.observe(48, 0)) == ["confirmed", "confirmed"]


def test_a_packet_identifier_that_comes_round_is_another_message(bench):
    """Told means that the broker has our PUBACK: the same packet later is somebody's new wish.

    Found by the simulation, seed 301786: the message was delivered, the bridge killed at once, and
    the next one took it for an old one of the same content, and answered nobody.
    """
    first = bench.send("pause", packet=9)
    bench.answer(call_of(first), b"[]")
    bench.pass_s(2)
    bench.restart()
    bench.journal.connected(bench.now, session_present=True)
    effects = bench.send("pause", packet=9, duplicate=True)

    assert states(bench.answer(call_of(effects), b"[]")) == ["noop"]


@pytest.mark.parametrize("is_over", [True, False])
def test_a_message_that_is_delivered_again_after_the_crash_is_recognised(bench, is_over):
    """The broker did not get our PUBACK: the same packet is acknowledged and nothing else."""
    call = call_of(bench.send("toggle", packet=9))
    if is_over:
        bench.answer(call, b"[]")
    bench.restart()
    bench.journal.connected(bench.now, session_present=True)
    effects = bench.send("toggle", packet=9, duplicate=True)

    assert [e for e in effects if not isinstance(e, LogEntry)] == [Acknowledge(AckToken(1, 9, 1))]


def test_writes_of_flash_memory_are_counted_over_restarts():
    """The daily number is a charger's, not a process's."""
    bench = Bench(flash_writes_per_day=2)
    for amps in (b"20", b"18"):
        call = call_of(bench.send("max_charger_current", amps))
        bench.answer(call, ticket(command_id=47))
        bench.restart()
        bench.pass_s(61)
    assert answers(bench.send("max_charger_current", b"16"))[0]["reason"] == "flash_budget"
    bench.pass_s(31)
    bench.mono_s += 24 * 3600
    bench.restart()
    assert calls_of(bench.send("max_charger_current", b"16"))


def test_what_is_not_allowed_any_more_is_refused(bench):
    """A configuration that changed meanwhile counts for what was not sent."""
    _waiting(bench, "reboot")
    bench.allow = ("control",)
    assert answers(bench.restart())[0]["reason"] == "not_allowed"

    other = Bench()
    _waiting(other, "dynamic_charger_current", b"32")
    (row,) = other.rows.values()
    other.rows[row.key] = replace(row, body=row.body.replace(b"32", b"33", 1))
    assert answers(other.restart())[0]["reason"] == "over_limit"


def test_a_row_that_cannot_be_read_is_noted_and_the_rest_goes_on(bench):
    """One damaged row costs one command."""
    _waiting(bench)
    (row,) = bench.rows.values()
    bench.rows |= {
        "a": replace(row, key="a", body=b"{"),
        "b": replace(row, key="b", command="explode"),
    }
    effects = bench.restart()

    notes = [e for e in effects if isinstance(e, LogEntry) and e.event == "command.row_unreadable"]
    assert [note.fields for note in notes] == [
        {"error": "command a: unreadable body"},
        {"error": "command b: no such command"},
    ]
    assert call_of(effects).request.path.endswith("pause_charging")


def test_a_step_of_the_bridge_itself_that_waited_is_not_sent(bench):
    """What holds a limit or switches phases decides anew; nobody waits for an answer."""
    _waiting(bench)
    ((key, row),) = bench.rows.items()
    record = {**msgspec.json.decode(row.body), "origin": "held"}
    bench.rows = {key: replace(row, body=msgspec.json.encode(record))}
    effects = bench.restart()

    assert not calls_of(effects)
    assert bench.rows[key].state == "superseded"
    assert not calls_of(bench.pass_s(1))


def test_the_order_of_arrival_is_kept_whatever_the_clock_did(bench):
    """A wall clock that was put back between two commands does not turn them round."""
    bench.send("override_schedule")
    bench.send("start")
    bench.jump_s = -5
    bench.send("pause")
    bench.rows = {key: row for key, row in bench.rows.items() if row.state == "waiting"}
    bench.jump_s = 0
    bench.disk = "ok"
    first = call_of(bench.restart())
    assert first.request.path.endswith("start_charging")
    second = call_of(bench.answer(first, ticket()))
    assert second.request.path.endswith("pause_charging")


def test_a_circuits_command_still_concerns_the_whole_circuit(bench):
    """After a restart any charger of the circuit may answer."""
    bench.answer(call_of(bench.send("dynamic_circuit_current", b"10")), SITE, 200)
    (call,) = [c for c in bench.journal._dispatcher.pending if c.purpose is Purpose.SEND]
    assert len(call.command.devices) == 2
    bench.restart()

    assert states(bench.respond(None, 22, charger_id="EH999999")) == ["confirmed"]


def _blind(bench, command, payload, **facts):
    """Crash before the PUBACK, start without the disk, and get the message again."""
    bench.mono_s += 1
    bench.begin()
    bench.disk = "fails"
    bench.journal.connected(bench.now, session_present=True)
    return bench.send(command, payload, packet=9, duplicate=True, **facts)


def _open(bench):
    """Let the store be opened at last, with what is on disk; write what is owed."""
    bench.disk = "ok"
    bench.mono_s += 120
    return bench.take(bench.journal.opened(tuple(bench.rows.values()), bench.now))


NAMED = [b'{"id":"c3"}', b"PRESS"]


@pytest.mark.parametrize("payload", NAMED)
def test_what_was_answered_without_the_store_gets_no_second_answer(bench, payload):
    """A row of the same order is closed in silence, now and at the next start (seed 50018)."""
    bench.send("pause", payload, packet=9)
    told = bench.answer(call_of(_blind(bench, "pause", payload)), b"[]")
    assert states(told) == ["noop"]
    effects = _open(bench)
    effects += bench.pass_s(5) + bench.pass_s(30)
    assert not states(effects)
    assert not calls_of(effects)
    assert {row.state for row in bench.rows.values()} == {"noop", "unknown"}

    effects = bench.restart() + bench.pass_s(40)
    assert not states(effects)
    if payload != b"PRESS":
        assert answers(bench.send("pause", payload)) == answers(told)


@pytest.mark.parametrize("payload", NAMED)
def test_what_runs_without_the_store_goes_on_alone(bench, payload):
    """The command of this process is the only one that is asked about, and the only one told."""
    bench.send("pause", payload, packet=9)
    call = call_of(_blind(bench, "pause", payload))
    bench.answer(call, ticket())
    _open(bench)
    assert len(bench.journal._active.live) == 1
    assert states(bench.respond()) == ["confirmed"]
    bench.pass_s(2)

    assert not states(bench.restart() + bench.pass_s(40))


def test_what_was_refused_without_the_store_is_not_carried_out_when_it_opens(bench):
    """Its caller was told that it is not, so what waited on the disk does not go on."""
    _waiting(bench, "toggle", b'{"id":"t","ttl_s":500}')
    (row,) = bench.rows.values()
    bench.rows = {
        row.key: replace(row, body=row.body.replace(b'"message_id":2', b'"message_id":9'))
    }
    assert states(_blind(bench, "toggle", b'{"id":"t","ttl_s":500}')) == ["refused"]
    effects = _open(bench)

    assert not calls_of(effects)
    assert not states(effects + bench.restart())


def test_an_answer_of_an_earlier_process_does_not_replace_the_one_that_was_told(bench):
    """A final row whose answer nobody has is closed with the answer this process gave."""
    bench.acks = False
    bench.answer(call_of(bench.send("pause", b'{"id":"a"}', packet=9)), b"[]")
    bench.acks = True
    call = call_of(_blind(bench, "pause", b'{"id":"a"}'))
    told = bench.fail(call, CloudRejected("no", status=400, reason="bad_request"))
    assert states(told) == ["failed"]
    assert not states(_open(bench))
    assert answers(bench.send("pause", b'{"id":"a"}')) == answers(told)
    bench.restart()
    assert answers(bench.send("pause", b'{"id":"a"}')) == answers(told)


@pytest.mark.parametrize("is_over", [True, False])
def test_who_asked_an_earlier_process_too_is_answered(bench, is_over):
    """The broker has the PUBACK of the first message and delivers only the second again."""
    bench.send("pause", b'{"id":"a"}', packet=8, response_topic="charger/reply/first")
    bench.send("pause", b'{"id":"a"}', packet=9, response_topic="charger/reply/second")
    call = call_of(_blind(bench, "pause", b'{"id":"a"}', response_topic="charger/reply/second"))
    effects = bench.answer(call, b"[]" if is_over else ticket())
    effects += _open(bench)
    if not is_over:
        effects += bench.respond()

    final = "noop" if is_over else "confirmed"
    assert answers(effects, "charger/reply/first")[-1]["state"] == final


def test_the_same_words_that_come_for_the_first_time_are_another_command(bench):
    """Only a message delivered again is the earlier one: both are answered."""
    bench.send("pause", packet=9)
    bench.mono_s += 1
    bench.begin()
    bench.disk = "fails"
    bench.answer(call_of(bench.send("pause", packet=9)), b"[]")
    effects = _open(bench)

    assert states(effects + bench.pass_s(40)) == ["unknown"]


def test_when_an_earlier_process_lived_is_known_from_its_newest_command(bench):
    """In whatever order the rows come; one of a clock that nobody set says nothing."""
    assert bench.journal._recovery.alive_at is None
    for seconds in (0, 100):
        bench.mono_s += seconds
        bench.send("pause", b'{"ttl_s":1}')
    newest = bench.now.wall
    bench.trusted, bench.jump_s = False, 1e6
    bench.send("pause", b'{"ttl_s":1}')
    for rows in (bench.rows, dict(reversed(bench.rows.items()))):
        bench.rows = rows
        bench.restart()
        assert bench.journal._recovery.alive_at == newest


def test_a_write_of_an_earlier_process_counts_from_its_own_time():
    """Also where this process was asked for the same before it could read the store."""
    bench = Bench(flash_writes_per_day=1)
    bench.send("max_charger_current", b'{"value":20,"id":"a"}', packet=9)
    bench.mono_s += 23.5 * 3600
    assert states(_blind(bench, "max_charger_current", b'{"value":20,"id":"a"}')) == ["refused"]
    _open(bench)
    assert answers(bench.send("max_charger_current", b"18"))[0]["reason"] == "flash_budget"
    bench.mono_s += 3600

    assert calls_of(bench.send("max_charger_current", b"18"))


def test_a_name_lapses_a_day_after_it_came_and_not_after_the_restart(bench):
    """A process that starts in between does not make it younger."""
    bench.answer(call_of(bench.send("toggle", b'{"id":"a"}')), b"[]")
    bench.mono_s += 20 * 3600
    bench.restart()
    assert states(bench.send("toggle", b'{"id":"a"}')) == ["noop"]
    bench.mono_s += 4 * 3600 + 1

    assert calls_of(bench.send("toggle", b'{"id":"a"}'))
