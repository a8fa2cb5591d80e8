"""Plays small lives, one seed after the other: what limits, energy, sessions and leases share."""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable

MAX_TOLD = 20
Tell = Callable[[str], object]


class Violation(AssertionError):
    """A promise was broken."""


def untold(_line: str) -> None:
    """Tell nobody what happens."""


def play_many(
    play: Callable[[int], Counter[str]], seeds: Iterable[int]
) -> tuple[Counter[str], list[str]]:
    """Play lives; return how often each thing happened, and which life broke what."""
    counts: Counter[str] = Counter()
    broken = []
    for seed in seeds:
        try:
            counts += play(seed)
        except Violation as why:
            broken.append(f"seed {seed}: {why}")
    return counts, broken


def main(doc: str | None, play: Callable[[int, Tell], Counter[str]]) -> int:
    """Play as many lives as asked for, or one in all words.

    Args:
        doc: What the lives are about.
        play: Plays one; raises ``Violation``.
    """
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("seeds", nargs="?", type=int, default=200)
    parser.add_argument("first", nargs="?", type=int, default=1)
    parser.add_argument("--seed", type=int, help="play this one and say everything")
    wanted = parser.parse_args()
    if wanted.seed is not None:
        play(wanted.seed, print)
        return 0
    began_s = time.perf_counter()
    seeds = range(wanted.first, wanted.first + wanted.seeds)
    counts, broken = play_many(lambda seed: play(seed, untold), seeds)
    spent_s = time.perf_counter() - began_s
    told = ", ".join(f"{name}: {count}" for name, count in sorted(counts.items()))
    lines = [
        *broken[:MAX_TOLD],
        f"{wanted.seeds} lives in {spent_s:.0f} s, {len(broken)} broke a promise",
        told,
    ]
    sys.stdout.write("".join(f"{line}\n" for line in lines if line))
    return bool(broken)
