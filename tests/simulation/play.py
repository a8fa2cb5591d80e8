"""Years of bad networks, one seed after the other.

``python -m tests.simulation.play SEEDS [FIRST]`` plays so many runs; ``--seed N`` plays one again
and says everything that happened. See docs/simulation.md.
"""

import argparse
import os
import sys
import time
import traceback
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from tests.simulation.lives import Violation
from tests.simulation.options import FAULTS, Options, draw
from tests.simulation.simulation import HOUR_S, REDACTED_EVERY, Simulation

SAY_EVERY_S = 60.0


def say(text: str) -> None:
    """Tell whoever started this."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def explained(simulation: Simulation, why: BaseException, drawn: str) -> str:
    """Say what a failed run was like, and how to play it again.

    Args:
        simulation: The run.
        why: It failed.
        drawn: The arguments it was drawn with.
    """
    lines = [f"seed {simulation.options.seed} broke a promise: {type(why).__name__}: {why}"]
    lines += [f"  {key} = {value}" for key, value in asdict(simulation.options).items()]
    lines += [
        f"  {at_s - 1000:10.3f}  {event}  {str(detail)[:300]}"
        for at_s, event, detail in simulation.events
    ]
    lines.append(f"again: python -m tests.simulation.play --seed {simulation.options.seed} {drawn}")
    return "\n".join(lines)


def made(options: Options, wanted: argparse.Namespace) -> Simulation:
    """Return a run as it is asked for on the command line."""
    simulation = Simulation(options, verbose=wanted.seed is not None)
    simulation.redacted_every = wanted.redacted
    return simulation


def recorded(path: Path) -> dict[str, str]:
    """Read the digests of an earlier run, by seed and the arguments it was drawn with."""
    lines = (line.rsplit(" ", 3) for line in path.read_text().splitlines())
    return {drawn: " ".join(digests) for drawn, *digests in lines}


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.play")
    parser.add_argument("seeds", nargs="?", type=int, default=200)
    parser.add_argument("first", nargs="?", type=int, default=1)
    parser.add_argument("--seed", type=int, help="play this one again and say everything")
    parser.add_argument("--hours", type=float, default=6.0, help="the longest run")
    parser.add_argument("--exactly", action="store_true", help="every run is as long as that")
    parser.add_argument(
        "--rarer", type=float, default=1.0, help="so many times fewer of everything in an hour"
    )
    parser.add_argument(
        "--redacted",
        type=int,
        default=REDACTED_EVERY,
        help="replay one of so many records also as it is written",
    )
    parser.add_argument("--keep-going", action="store_true", help="play on after a failure")
    parser.add_argument("--record", type=Path, help="write a digest of each life to this file")
    parser.add_argument("--compare", type=Path, help="the digests are to be those of this file")
    wanted = parser.parse_args()
    if (wanted.record or wanted.compare) and os.environ.get("PYTHONHASHSEED") != "0":
        parser.error("a recording is the same twice with PYTHONHASHSEED=0 in the environment only")
    return wanted


def main() -> int:
    """Play many runs and say how they went."""
    wanted = arguments()
    golden = recorded(wanted.compare) if wanted.compare else {}
    record = wanted.record.open("a") if wanted.record else None
    first, count = (wanted.seed, 1) if wanted.seed is not None else (wanted.first, wanted.seeds)
    drawn = f"--hours {wanted.hours:g}{' --exactly' * wanted.exactly} --rarer {wanted.rarer:g}"
    fired: Counter[str] = Counter()
    replayed: Counter[str] = Counter()
    began_s, simulated_s, failed = time.perf_counter(), 0.0, 0
    said_s = began_s
    for number, seed in enumerate(range(first, first + count), start=1):
        options = draw(seed, longest_hours=wanted.hours, exactly=wanted.exactly, rarer=wanted.rarer)
        simulation = made(options, wanted)
        try:
            simulation.run()
        except (Violation, Exception) as why:  # noqa: BLE001 - whatever it is, the seed is told
            failed += 1
            say(explained(simulation, why, drawn))
            if not isinstance(why, Violation):
                say("".join(traceback.format_exception(why)))
            if not wanted.keep_going:
                break
        digests = simulation.recording.digests()
        if record is not None:
            record.write(f"{seed} {drawn} {digests}\n")
            record.flush()
        if golden.get(f"{seed} {drawn}", digests) != digests:
            failed += 1
            say(f"seed {seed} {drawn} is another life: {digests}")
        fired += simulation.fired
        replayed.update(records=simulation.records, events=simulation.replayed)
        simulated_s += simulation.timeline.now_s - 1000
        now_s = time.perf_counter()
        if now_s - said_s > SAY_EVERY_S or number == count:
            said_s, spent_s = now_s, now_s - began_s
            hours = simulated_s / HOUR_S
            say(
                f"{number} seeds, {failed} failed, {hours:.0f} simulated hours in {spent_s:.0f} s:"
                f" {hours / spent_s:.1f} simulated hours in each second;"
                f" records compared: {replayed['records']}, of {replayed['events']} events",
            )
    names = sorted({*FAULTS, *fired})
    say("faults: " + ", ".join(f"{name} {fired[name]}" for name in names))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
