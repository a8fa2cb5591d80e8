"""What can be counted instead of timed: ``python -m benchmarks.counts``.

Python calls in the core for one power observation, one successful command and a ``Tick`` with
nothing due, as ``tests/core/test_call_counts.py`` bounds them; the bytes a day of sessions and
commands sends to the disk, as ``make soak-wear`` counts them; the log of an hour in the worst
outage, defined in :mod:`tests.soak.outage`. Other programs do not change them.
"""

import asyncio
import tempfile
from pathlib import Path

from benchmarks import stage
from tests.core.test_call_counts import of_a_command, of_a_tick, of_an_observation
from tests.soak import outage
from tests.soak.script import quiet
from tests.soak.wear import measure


def main() -> None:
    """Count and print."""
    parser = stage.arguments(__doc__, "counts")
    options = parser.parse_args()
    quiet()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        wear = asyncio.run(measure(Path(folder)))
    found = {
        "observation_calls": of_an_observation().calls,
        "command_calls": of_a_command().calls,
        "tick_calls": of_a_tick().calls,
        "written_mb_a_day": (wear.kernel_bytes or wear.sqlite_bytes) / 1e6,
        "syncs_a_day": wear.syncs,
        "log_kb_an_hour": outage.measure().bytes_of.total() / 1000,
    }
    print(stage.table(("counted", ""), [(name, f"{one:.2f}") for name, one in found.items()]))
    stage.write(options.json, found)


if __name__ == "__main__":
    main()
