"""How much of the program is run for one event: counted, so it is the same on every machine.

A call is a Python function, comprehension or generator of the package that starts or goes on. A
move is a call in another file than the one before it.
"""

import sys
from pathlib import Path

import bridge
from tests.core.commands.bench import TICKS, Bench, call_of, states, ticket

PACKAGE = str(Path(bridge.__file__).parent)
COMMANDS = str(Path(PACKAGE, "core", "commands"))


class CallCounts:
    """Counts the calls within a ``with`` block.

    Attributes:
        calls: Of functions of the package.
        moves: Calls in another file than the one before.
        files: That were called.
    """

    def __init__(self):
        self.calls = self.moves = 0
        self.files = set()
        self._last = ""

    def __enter__(self):
        sys.setprofile(self._profile)
        return self

    def __exit__(self, *_error):
        sys.setprofile(None)

    def _profile(self, frame, event, _argument):
        path = frame.f_code.co_filename
        if event == "call" and path.startswith(PACKAGE):
            self.calls += 1
            self.moves += path != self._last
            self.files.add(path)
            self._last = path


def test_a_successful_command():
    """Accepted by the cloud and confirmed by the charger, its three rows on disk."""
    bench = Bench()
    with CallCounts() as counts:
        call = call_of(bench.send("start"))
        accepted = bench.answer(call, ticket())
        confirmed = bench.respond(TICKS)

    assert (states(accepted), states(confirmed)) == (["accepted"], ["confirmed"])
    assert [row.state for row in bench.rows.values()] == ["confirmed"]
    assert counts.calls <= 150
    assert counts.moves <= 60
    assert len([path for path in counts.files if path.startswith(COMMANDS)]) <= 9
