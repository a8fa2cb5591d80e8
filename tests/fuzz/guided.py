"""Fuzzing that follows coverage: ``make fuzz N=1000000 TARGET=frames``.

Each target runs in a process of its own, with a bound on the time of one input and on the memory of
all. What it finds is kept in ``.fuzz/<target>/``; an input that breaks a promise is written beside
it and becomes a test of ``test_borders.py``. libFuzzer comes with atheris, which is installed for
this only: ``make fuzz`` does it.
"""

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

ROOT: Final = Path(".fuzz")
MAX_BYTES: Final = 4096
SLOWEST_S: Final = 5
MAX_MIB: Final = 768
ONE_TARGET: Final = "--one"


def fuzz(target: str, runs: int, seed: int) -> None:
    """Fuzz one target in this process; it ends with the process."""
    import atheris  # noqa: PLC0415 - not installed for `make test`

    with atheris.instrument_imports(include=["bridge"]):
        from tests.fuzz import borders, seeds  # noqa: PLC0415 - while imports are instrumented

    import structlog  # noqa: PLC0415 - as above

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    corpus, first = ROOT / target, ROOT / f"{target}.seeds"
    for folder in (corpus, first):
        folder.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate((*seeds.SEEDS[target], *seeds.BASIC)):
        (first / str(number)).write_bytes(content)
    words = ROOT / "words.dict"
    words.write_text(seeds.dictionary())
    atheris.Setup(
        [
            "fuzz",
            f"-runs={runs}",
            f"-seed={seed}",
            f"-max_len={MAX_BYTES}",
            f"-timeout={SLOWEST_S}",
            f"-rss_limit_mb={MAX_MIB}",
            f"-dict={words}",
            f"-artifact_prefix={ROOT}/{target}.",
            "-print_final_stats=1",
            str(corpus),
            str(first),
        ],
        borders.BORDERS[target],
    )
    atheris.Fuzz()


def report(target: str, said: str, status: int, took_s: float) -> str:
    """Say in one line what a run found."""
    facts = {
        name: match[1] if (match := re.search(rf"{name}:\s+(\d+)", said)) else "?"
        for name in ("number_of_executed_units", "slowest_unit_time_sec", "peak_rss_mb")
    }
    covered = re.findall(r"cov: (\d+)", said) or ["?"]
    verdict = "ok" if status == 0 else f"FAILED with status {status}"
    return (
        f"{target}: {facts['number_of_executed_units']} inputs in {took_s:.0f} s,"
        f" {covered[-1]} edges, slowest {facts['slowest_unit_time_sec']} s,"
        f" {facts['peak_rss_mb']} MiB at most: {verdict}"
    )


def say(text: str) -> None:
    """Print at once: a run takes an hour."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(arguments: list[str]) -> int:
    """Fuzz the named targets, or all of them, one after the other."""
    if arguments[0] == ONE_TARGET:
        fuzz(arguments[1], int(arguments[2]), int(arguments[3]))
        return 0
    from tests.fuzz.borders import BORDERS  # noqa: PLC0415 - a target imports it instrumented

    runs, names = arguments[0], arguments[1:] or list(BORDERS)
    ROOT.mkdir(exist_ok=True)
    failed = 0
    for name in names:
        started_s = time.perf_counter()
        seed = os.environ.get("SEED", "1")
        command = [sys.executable, "-m", "tests.fuzz.guided", ONE_TARGET, name, runs, seed]
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=False
        )
        took_s = time.perf_counter() - started_s
        say(report(name, done.stderr, done.returncode, took_s))
        if done.returncode != 0:
            failed += 1
            say(f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
