"""``make soak-damage N=3000``: a store's files are damaged N times, at random.

A bridge must start whatever it finds, within seconds. It hands out only what was once written, says
so when anything it had is missing, and goes on working.
"""

import asyncio
import random
import shutil
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace

from bridge.adapters.store.sqlite.reader import SqliteReader
from bridge.adapters.store.sqlite.salt_file import salt_file
from bridge.adapters.store.sqlite.schema import PAGE_BYTES
from bridge.adapters.store.sqlite.store import SqliteStore
from bridge.core.records.command_row import CommandRow
from bridge.core.store_status import StoreContents
from tests.soak.disk import Disk
from tests.soak.load import report_of
from tests.soak.power import History, Life, State
from tests.soak.script import arguments, memory, progress, quiet, verdict, workshop

START_TIMEOUT_S = 5.0
A_BASE_LASTS = 60
MAX_MIB = 4
NEW = 900_000

Harm = Callable[[Path, random.Random], None]


# -- what can happen to a file ---------------------------------------------------------------------


def flip_bits(path: Path, rng: random.Random) -> None:
    """Flip one bit, or a few."""
    data = bytearray(path.read_bytes())
    for _ in range(rng.choice([1, 1, 1, 2, 8, 64])):
        if data:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def flip_in_the_head(path: Path, rng: random.Random) -> None:
    """Flip a bit where the file says what it is."""
    data = bytearray(path.read_bytes())
    if data:
        data[rng.randrange(min(100, len(data)))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def cut_off(path: Path, rng: random.Random) -> None:
    """Lose the end."""
    data = path.read_bytes()
    path.write_bytes(data[: rng.randrange(len(data) + 1)])


def empty(path: Path, _rng: random.Random) -> None:
    """Lose everything but the name."""
    path.write_bytes(b"")


def remove(path: Path, _rng: random.Random) -> None:
    """Lose the file."""
    path.unlink()


def overwrite(path: Path, rng: random.Random) -> None:
    """Have a stretch of something else in it: zeros, noise, or another part of the same file."""
    data = bytearray(path.read_bytes())
    if not data:
        return
    at, size = rng.randrange(len(data)), rng.choice([1, 16, 512, 4096, 3 * 4096])
    source = rng.randrange(len(data))
    stretch = rng.choice([bytes(size), rng.randbytes(size), bytes(data[source : source + size])])
    data[at : at + len(stretch)] = stretch[: len(data) - at]
    path.write_bytes(data)


def swap_pages(path: Path, rng: random.Random) -> None:
    """Have two pages in each other's place."""
    data = bytearray(path.read_bytes())
    pages = len(data) // PAGE_BYTES
    if pages < 2:
        return
    one, other = (PAGE_BYTES * rng.randrange(pages) for _ in range(2))
    first, second = data[one : one + PAGE_BYTES], data[other : other + PAGE_BYTES]
    data[one : one + PAGE_BYTES], data[other : other + PAGE_BYTES] = second, first
    path.write_bytes(data)


def replace_by_another(path: Path, rng: random.Random) -> None:
    """Have somebody else's file in its place."""
    path.unlink()
    if rng.random() < 0.5:
        path.write_bytes(b"not what you think it is\n" * 1000)
        return
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE somebody_elses (x)")
    db.close()


HARMS: tuple[Harm, ...] = (
    flip_bits,
    flip_bits,
    flip_bits,
    flip_in_the_head,
    cut_off,
    empty,
    remove,
    overwrite,
    overwrite,
    swap_pages,
    replace_by_another,
)


# -- the run ---------------------------------------------------------------------------------------


async def base(folder: Path, rng: random.Random, life: Life | None) -> tuple[Life, Path]:
    """Let a store live on for a while; return what it told, and a copy of its files as they are.

    The copy is taken while it runs, as a crash leaves it, or after it was closed.
    """
    home = folder / "home"
    if life is None:
        home.mkdir()
        store = SqliteStore(home / "bridge.db", max_mib=MAX_MIB, floor_bytes=0)
        life = Life(Disk(home), store, rng, {}, 0)
    await life.store.open()
    await life.live(60)
    if rng.random() < 0.3:
        await life.store.close()
    copy = folder / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(home, copy)
    await life.store.close()
    return life, copy


async def judge(path: Path, life: Life, salt: bytes) -> tuple[list[str], str]:
    """Open what is left; return what is wrong, and a word for how it went."""
    store = SqliteStore(path, max_mib=MAX_MIB, floor_bytes=0)
    began_s = time.perf_counter()
    opened = await store.open()
    wrong = []
    try:
        took_s = time.perf_counter() - began_s
        if took_s > START_TIMEOUT_S:
            wrong.append(f"opening took {took_s:.1f} s")
        held: dict[str, State] = {row.key: row for row in SqliteReader(path).reports()}
        held |= {row.key: row for row in opened.commands}
        fresh, _ = await store.save(report_of(NEW))
    finally:
        await store.close()
    wrong += _untrue(held, life.histories)
    is_short = any(
        held.get(key) not in history.states[max(0, history.oldest_allowed(sys.maxsize)) :]
        for key, history in life.histories.items()
        if history.states[-1] is not None
    )
    if is_short and not opened.problems:
        wrong.append("something is missing, and nobody said so")
    if salt_file(path).read_bytes() != salt:
        wrong.append("the salt is another one")
    second = SqliteStore(path, max_mib=MAX_MIB, floor_bytes=0)
    again = await second.open()
    await second.close()
    if fresh.key not in {row.key for row in again.owed}:
        wrong.append("what was saved afterwards is gone")
    if {one.kind for one in again.problems} - {"reports_damaged"}:
        wrong.append("it is still not well")
    return wrong, _word(opened, is_short=is_short)


def _untrue(held: dict[str, State], histories: dict[str, History]) -> list[str]:
    """Say which rows were never written like that. A command may be said to have been sent."""
    wrong = []
    for key, row in held.items():
        states = histories[key].states if key in histories else []
        known = row in states
        if not known and isinstance(row, CommandRow) and row.state == "sent":
            known = any(
                isinstance(one, CommandRow) and replace(one, state="sent") == row for one in states
            )
        if not known:
            wrong.append(f"{key} was never written like that: {row}")
    return wrong


def _word(opened: StoreContents, *, is_short: bool) -> str:
    kinds = {one.kind for one in opened.problems}
    if "store_replaced" in kinds:
        return "moved aside, some missing" if is_short else "moved aside, all saved"
    if "store_incomplete" in kinds:
        return "log damaged, some missing" if is_short else "log damaged, all saved"
    if kinds:
        return "rows damaged"
    return "unharmed"


async def torment(count: int, seed: int, folder: Path) -> tuple[list[str], str]:
    """Do that much harm; return what was wrong, and a summary."""
    rng = random.Random(seed)
    started_s = time.perf_counter()
    problems: list[str] = []
    words: Counter[str] = Counter()
    life, copy = await base(folder, rng, None)
    for number in range(1, count + 1):
        if number % A_BASE_LASTS == 0:
            life, copy = await base(folder, rng, life)
        here = folder / "here"
        shutil.rmtree(here, ignore_errors=True)
        shutil.copytree(copy, here)
        path = here / "bridge.db"
        salt = salt_file(path).read_bytes()
        files = [path, path, path, *here.glob("bridge.db-*"), *here.glob("bridge.db-wal")]
        if rng.random() < 0.05:
            files = [salt_file(path)]
        victim, harm = rng.choice(files), rng.choice(HARMS)
        if victim.exists():
            harm(victim, rng)
        try:
            wrong, word = await judge(path, life, salt)
        except Exception as exc:  # noqa: BLE001 - whatever it is, the store did not start
            wrong, word = [f"not started: {exc!r}"], "not started"
        words[word] += 1
        progress(number, count, len(problems))
        problems += [f"{number}: {harm.__name__} {victim.name}: {one}" for one in wrong]
    told = ", ".join(f"{words[word]} {word}" for word in sorted(words))
    seconds = time.perf_counter() - started_s
    return problems, (
        f"{count} damaged stores (seed {seed}): {told}; {len(problems)} problems,"
        f" in {seconds:.0f} s"
    )


def main() -> int:
    """Run from the command line: ``python -m tests.soak.damage N [SEED]``."""
    count, seed = arguments()
    quiet()
    with workshop(memory()) as folder:
        problems, summary = asyncio.run(torment(count, seed, folder))
    return verdict(problems, summary)


if __name__ == "__main__":
    sys.exit(main())
