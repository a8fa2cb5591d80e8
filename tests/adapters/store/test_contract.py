"""What every store promises: the gateway and the command line rely on nothing else.

Each test runs on every store in :data:`tests.adapters.store.benches.BENCHES`.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from bridge.core.events import StoreFailed, StoreOpened
from bridge.core.records.stored_report import StoredReport
from bridge.core.records.unread_text import UnreadText
from bridge.errors import StoreError, StoreFull, StoreLocked
from bridge.ports import Store
from tests.adapters.store.benches import BENCHES, Bench
from tests.adapters.store.rows import HOUR, NOON, REPORT, command, numbered
from tests.mosquitto import until

pytestmark = pytest.mark.anyio
KEY = "EH123456-435"
FIXED = replace(REPORT, energy_kwh=0.5, measured_at=NOON + 2 * HOUR)
LIMITS = {"settled_before": NOON + 999 * HOUR, "commands_before": NOON + 999 * HOUR}


@pytest.fixture(params=sorted(BENCHES))
def bench(request, tmp_path) -> Bench:
    """Each of the stores there are, empty."""
    return BENCHES[request.param](tmp_path)


@contextlib.asynccontextmanager
async def opened(bench: Bench, events: list | None = None, **how: bool) -> AsyncIterator[Store]:
    """Open a store, and close it whatever happens."""
    store = bench.store((events if events is not None else []).append, **how)
    try:
        await store.open()
        yield store
    finally:
        await store.close()


async def contents(bench: Bench):
    """Return what the store holds for the next process."""
    async with opened(bench) as store:
        return await store.open()


def text(number: int) -> UnreadText:
    """Make a text that cannot be read."""
    at = NOON + timedelta(seconds=number)
    return UnreadText("EH123456", f"{number}", "no JSON", "stream", at, at)


# -- opening and closing ----------------------------------------------------------------------


async def test_a_new_store_is_empty_and_sound(bench):
    """Nothing is owed, nothing is wrong, and nobody took a report yet."""
    held = await contents(bench)

    assert (held.owed, held.commands, held.texts, held.problems) == ((), (), (), ())
    assert not held.has_consumer


async def test_everything_survives_reopening_as_it_was(bench):
    """Reports, commands and texts come back with every field."""
    async with opened(bench) as store:
        assert await store.save(REPORT) == (StoredReport(KEY, 1, REPORT), True)
        await store.save_command(command(1))
        await store.keep_text(text(1))
    held = await contents(bench)

    assert held.owed == (StoredReport(KEY, 1, REPORT),)
    assert held.commands == (command(1),)
    assert held.texts == (text(1),)


async def test_what_was_answered_survives_a_kill(bench):
    """A method that returned has committed: nothing needs a clean end."""
    async with opened(bench) as store:
        await store.save(numbered(1))
        await store.save(numbered(2))
        await store.save_command(command(1))
        await store.settle((("EH123456-1", 1),))
        await store.mark_published("EH123456-2", 1, NOON)
        await store.save_command(command(1, answer=b"{}"))
        await store.keep_text(text(1))
        key = await store.tag_hash_key()
        bench.kill()
    async with opened(bench) as store:
        held = await store.open()
        assert await store.tag_hash_key() == key

    assert [(row.key, row.published) for row in held.owed] == [("EH123456-2", True)]
    assert held.commands == (command(1, answer=b"{}"),)
    assert held.texts == (text(1),)
    assert held.has_consumer


async def test_opening_again_says_what_it_holds_now(bench):
    """A store that is open may be asked."""
    async with opened(bench) as store:
        await store.save(REPORT)
        assert [row.key for row in (await store.open()).owed] == [KEY]


async def test_one_process_has_it_and_a_closed_store_says_so(bench):
    """The second opener is refused, until the first has closed."""
    async with opened(bench) as first:
        second = bench.store(lambda _event: None)
        with pytest.raises(StoreLocked) as caught:
            await second.open()
        assert caught.value.hint
        await first.save(REPORT)
    for asked in (
        first.save(REPORT),
        first.usage(),
        first.settle(()),
        first.save_command(command(1)),
    ):
        with pytest.raises(StoreError, match="not open"):
            await asked
    await second.open()
    await second.close()
    await second.close()


async def test_the_key_of_tag_hashes_is_made_once(bench):
    """Hashes stay the same over restarts."""
    async with opened(bench) as store:
        key = await store.tag_hash_key()
        assert await store.tag_hash_key() == key
    async with opened(bench) as store:
        assert await store.tag_hash_key() == key
    assert bench.reader().tag_hash_key() == key
    assert len(key) == 32


# -- reports ------------------------------------------------------------------------------------


async def test_a_repeat_changes_nothing_and_a_correction_is_a_new_revision(bench):
    """The newest content is kept, and owed again."""
    async with opened(bench) as store:
        first, _ = await store.save(REPORT)
        await store.mark_published(first.key, 1)
        again = await store.save(replace(REPORT, source="poll", received_at=NOON + HOUR))
        assert again == (structs.replace(first, published=True), False)
        assert await store.save(FIXED) == (StoredReport(KEY, 2, FIXED), True)
        assert await store.save(REPORT) == (StoredReport(KEY, 2, FIXED), False)

    assert (await contents(bench)).owed == (StoredReport(KEY, 2, FIXED),)


async def test_a_report_is_owed_until_its_revision_is_settled(bench):
    """Published is not settled; who speaks of an older revision or of nothing changes nothing."""
    async with opened(bench) as store:
        await store.save(REPORT)
        await store.mark_published(KEY, 7)
        await store.mark_published("unknown", 1)
        assert [row.published for row in (await store.open()).owed] == [False]
        await store.mark_published(KEY, 1, NOON)
        (row,) = (await store.open()).owed
        assert (row.published, row.published_at) == (True, NOON)
        await store.save(FIXED)
        await store.settle(((KEY, 1), ("unknown", 1)))
        assert [row.revision for row in (await store.open()).owed] == [2]
        await store.settle(((KEY, 2),))
        assert (await store.open()).owed == ()
        (row,) = await store.reports(charger_id=None, since=None, until=None, limit=9)
        assert (row.settled, row.published) == (True, True)


async def test_what_is_kept_is_not_owed_and_needs_no_consumer(bench):
    """Nobody asked for it yet; the first who takes one is remembered."""
    async with opened(bench) as store:
        await store.save(numbered(1))
        await store.save(numbered(2))
        await store.keep((("EH123456-1", 1), ("EH123456-2", 7)))
        held = await store.open()
        assert ([row.key for row in held.owed], held.has_consumer) == (["EH123456-2"], False)
        assert (await store.usage()).kept == 1
        await store.mark_published("EH123456-2", 1)
        assert (await store.open()).has_consumer


async def test_stored_reports_can_be_owed_again(bench):
    """A replay takes the reports of one charger since a moment, settled or kept."""
    async with opened(bench) as store:
        for report in (numbered(5), numbered(1), numbered(6, "EH000002")):
            row, _ = await store.save(report)
            await store.mark_published(row.key, 1)
            await store.settle(((row.key, 1),))
        since = NOON + timedelta(minutes=5)
        again = await store.mark_pending(since=since, charger_id="EH123456")
        assert again == (StoredReport("EH123456-5", 1, numbered(5)),)
        assert (await store.open()).owed == again
        assert [row.report.session_id for row in await store.mark_pending()] == [1, 5, 6]


async def test_reports_come_oldest_end_first_and_as_asked(bench):
    """Of one charger, since and until a moment, no more than wanted."""
    async with opened(bench) as store:
        for number in (7, 3, 0, 9, 1, 4, 2, 8, 6, 5):
            await store.save(numbered(number, "EH000002" if number == 4 else "EH123456"))
        between = {"since": NOON + timedelta(minutes=2), "until": NOON + timedelta(minutes=7)}
        found = await store.reports(charger_id="EH123456", **between, limit=3)
        assert [row.report.session_id for row in found] == [2, 3, 5]
        assert [row.report.session_id for row in (await store.open()).owed] == list(range(10))
        assert await store.reports(charger_id=None, since=None, until=None, limit=0) == ()
        reader = list(bench.reader().reports(charger_id="EH123456", **between))
        assert [row.report.session_id for row in reader] == [2, 3, 5, 6]


async def test_a_session_without_a_counter_is_kept_once(bench):
    """Its row is found by when it was."""
    nameless = replace(REPORT, session_id=None)
    async with opened(bench) as store:
        first, _ = await store.save(nameless)
        assert await store.save(nameless) == (first, False)
        other, changed = await store.save(replace(nameless, charger_id="EH000002"))

    assert changed
    assert first.key != other.key


async def test_a_session_told_again_without_its_counter_is_found_by_its_meters(bench):
    """The cloud's list knew its counter; by the clock of the charger it ended days later."""
    again = replace(
        REPORT,
        session_id=None,
        ended_at=REPORT.ended_at + timedelta(days=3),
        received_at=REPORT.received_at + timedelta(days=4),
        doubtful=("ended_at",),
        placed_at=REPORT.received_at + timedelta(days=4),
    )
    async with opened(bench) as store:
        await store.save(REPORT)
        found, changed = await store.save(again)

    assert (found.key, found.report.ended_at, changed) == (KEY, REPORT.ended_at, False)


async def test_a_backfilled_report_gains_its_reason_as_a_new_revision(bench):
    """The stream completes what REST began, under the same key, though the start differs."""
    backfilled = replace(
        REPORT,
        source="backfill",
        auth_reason=None,
        auth="",
        started_at=NOON - timedelta(seconds=4),
        meter_start_kwh=None,
    )
    async with opened(bench) as store:
        await store.save(backfilled)
        completed, changed = await store.save(REPORT)
        assert (completed, changed) == (StoredReport("EH123456-435", 2, REPORT), True)
        assert await store.save(backfilled) == (completed, False)


async def test_a_counter_that_came_round_is_another_session(bench):
    """The same number forty days later does not overwrite a billing record."""
    apart = timedelta(days=40)
    later = replace(REPORT, started_at=NOON + apart, ended_at=REPORT.ended_at + apart)
    async with opened(bench) as store:
        await store.save(REPORT)
        second, changed = await store.save(later)
        assert (second.key, changed) == ("EH123456-435-20270101", True)
        assert await store.save(later) == (second, False)

    assert len((await contents(bench)).owed) == 2


# -- commands and texts ---------------------------------------------------------------------------


async def test_the_newest_row_of_each_command_is_kept_oldest_command_first(bench):
    """A later state stands in the place of the earlier one."""
    late = command(1, received_at=NOON + HOUR)
    async with opened(bench) as store:
        await store.save_command(late)
        await store.save_command(command(2))
        await store.save_command(command(2, answer=b"{}"))
        decisions = bench.reader().decisions(1)

    assert (await contents(bench)).commands == (command(2, answer=b"{}"), late)
    assert [row[1:] for row in decisions] == [("EH123456", "start", "waiting")]


async def test_texts_are_kept_until_they_are_forgotten(bench):
    """Oldest first; the same text is one."""
    async with opened(bench) as store:
        for number in (3, 1, 2, 1):
            await store.keep_text(text(number))
        await store.forget_texts((text(3).key, "unknown"))
        assert {one.text for one in (await store.open()).texts} == {"1", "2"}
        assert bench.reader().texts() == (await store.open()).texts


async def test_of_texts_the_newest_500_are_kept(bench):
    """However many chargers tell nonsense."""
    async with opened(bench) as store:
        await asyncio.gather(*(store.keep_text(text(number)) for number in range(510)))
        held = (await store.open()).texts

    assert [one.text for one in held] == [str(number) for number in range(10, 510)]


# -- age and room ---------------------------------------------------------------------------------


async def test_only_what_is_settled_or_answered_and_old_is_deleted(bench):
    """What is owed or has no answer stays, however old."""
    async with opened(bench) as store:
        for number in (1, 2, 3):
            await store.save(numbered(number))
            await store.mark_published(f"EH123456-{number}", 1, NOON + number * HOUR)
        await store.settle((("EH123456-1", 1), ("EH123456-3", 1)))
        await store.save_command(command(1))
        await store.save_command(command(2, answer=b"{}"))
        await store.save_command(command(3, answer=b"{}", received_at=NOON + 9 * HOUR))
        limits = {"settled_before": NOON + 3 * HOUR, "commands_before": NOON + 8 * HOUR}
        assert await store.forget(**limits) == 2
        assert await store.forget(**limits) == 0
        held = await store.open()

    assert [row.key for row in bench.reader().reports()] == ["EH123456-2", "EH123456-3"]
    assert [row.key for row in held.owed] == ["EH123456-2"]
    assert [row.key for row in held.commands] == ["1", "3"]


@pytest.mark.parametrize("last", [1, 3])
async def test_the_last_report_of_a_charger_is_never_deleted(bench, last):
    """The cloud tells it again at every connection, and it would be a new one."""
    async with opened(bench) as store:
        for charger_id in ("EH123456", "EH999999"):
            for number in (1, 2, 3):
                measured_at = NOON + HOUR * (9 if number == last else number)
                report = replace(numbered(number, charger_id), measured_at=measured_at)
                row, _ = await store.save(report)
                await store.settle(((row.key, 1),))
        await store.forget(**LIMITS)
        left = list(bench.reader().reports())
        told = [await store.save(row.report) for row in left]

    assert {row.report.session_id for row in left} == {last, 3}
    assert all(not changed for _, changed in told)


async def test_a_report_is_as_old_as_the_newest_thing_heard_of_it(bench):
    """A charger whose clock is in the last century does not have its sessions forgotten at once."""
    old = NOON - timedelta(days=9000)
    dusty = replace(REPORT, started_at=old, ended_at=old + HOUR)
    async with opened(bench) as store:
        row, _ = await store.save(dusty)
        await store.mark_published(row.key, 1)
        await store.settle(((row.key, 1),))

        await store.save(REPORT)

        assert await store.forget(settled_before=NOON, commands_before=NOON) == 0
        assert await store.forget(settled_before=NOON + 2 * HOUR, commands_before=NOON) == 1


async def test_without_room_nothing_new_is_taken_and_what_is_there_can_end(bench):
    """A new report, command or text is refused; corrections, answers and settling go on."""
    async with opened(bench) as store:
        await store.save(REPORT)
        await store.save_command(command(1))
        await store.keep_text(text(1))
    async with opened(bench, full=True) as store:
        for asked in (
            store.save(numbered(1)),
            store.save_command(command(2)),
            store.keep_text(text(2)),
        ):
            with pytest.raises(StoreFull) as caught:
                await asked
            assert caught.value.hint
        await store.save_command(command(1, answer=b"{}"))
        assert (await store.save(FIXED))[1]
        await store.mark_published(KEY, 2)
        await store.settle(((KEY, 2),))
        await store.forget_texts((text(1).key,))
        assert (await store.usage()).used_share == 1.0
    held = await contents(bench)

    assert (held.owed, held.commands, held.texts) == ((), (command(1, answer=b"{}"),), ())


# -- failure --------------------------------------------------------------------------------------


async def test_a_store_that_fails_says_so_and_mends_itself(bench):
    """Every method fails meanwhile; afterwards what is owed is told, and no command again."""
    events: list = []
    async with opened(bench, events) as store:
        await store.save(REPORT)
        await store.save_command(command(1))
        bench.break_()
        for _ in range(2):
            with pytest.raises(StoreError) as caught:
                await store.save(numbered(1))
            assert caught.value.hint
        await until(lambda: events)
        assert [type(event) for event in events] == [StoreFailed]
        bench.repair()
        await until(lambda: isinstance(events[-1], StoreOpened))
        assert ([row.key for row in events[-1].owed], events[-1].commands) == ([KEY], ())
        assert (await store.save(numbered(1)))[1]

    assert [row.key for row in (await contents(bench)).owed] == ["EH123456-1", KEY]


async def test_the_reader_of_a_store_that_is_not_there_says_so(bench):
    """With a hint, and without making one."""
    with pytest.raises(StoreError) as caught:
        bench.reader().require()
    assert caught.value.hint
    with pytest.raises(StoreError):
        list(bench.reader().reports())
    assert bench.reader().tag_hash_key() is None


async def test_the_reader_sees_a_store_that_is_open(bench):
    """Its room can be told, and nothing stands in the way of opening it."""
    async with opened(bench) as store:
        await store.save(REPORT)
        reader = bench.reader()
        reader.require()
        assert [row.key for row in reader.reports()] == [KEY]
        assert reader.space().used_bytes > 0
        assert all(path.is_file() for path in reader.files())
    assert bench.reader().obstacle() is None


# -- any order ------------------------------------------------------------------------------------

NUMBERS = st.integers(1, 4)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("save"), NUMBERS, st.integers(1, 3)),
        st.tuples(st.sampled_from(["publish", "settle", "keep"]), NUMBERS, st.integers(1, 3)),
        st.tuples(st.just("pending"), NUMBERS, st.just(0)),
        st.tuples(st.just("answer"), NUMBERS, st.integers(0, 1)),
        st.tuples(st.just("forget"), NUMBERS, st.just(0)),
        st.tuples(st.just("kill"), st.just(0), st.just(0)),
    ),
    max_size=25,
)


async def _play(bench: Bench, steps: list[tuple[str, int, int]]) -> object:
    """Do these things with a store; return what is left."""
    store = bench.store(lambda _event: None)
    await store.open()
    answers: list = []
    for what, number, extra in steps:
        pairs = ((f"EH123456-{number}", extra),)
        match what:
            case "save":
                report = replace(
                    numbered(number),
                    energy_kwh=float(extra),
                    measured_at=NOON + extra * HOUR,
                )
                answers.append(await store.save(report))
            case "publish":
                await store.mark_published(*pairs[0], NOON)
            case "settle":
                await store.settle(pairs)
            case "keep":
                await store.keep(pairs)
            case "pending":
                answers.append(await store.mark_pending(since=NOON + timedelta(minutes=number)))
            case "answer":
                await store.save_command(command(number, answer=b"{}" * extra))
            case "forget":
                at = NOON + number * HOUR
                answers.append(await store.forget(settled_before=at, commands_before=at))
            case "kill":
                bench.kill()
                dead, store = store, bench.store(lambda _event: None)
                await dead.close()
                await store.open()
    held = await store.open()
    rows = await store.reports(charger_id=None, since=None, until=None, limit=99)
    await store.close()
    return answers, held, rows


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=STEPS)
@pytest.mark.parametrize("name", sorted(BENCHES.keys() - {"memory"}))
def test_every_store_does_what_the_store_in_memory_does(tmp_path_factory, name, steps):
    """Whatever is asked in whatever order, and wherever the process dies."""
    folder = tmp_path_factory.mktemp("store")

    async def play(one: str) -> object:
        return await _play(BENCHES[one](folder), steps)

    assert asyncio.run(play(name)) == asyncio.run(play("memory"))
