"""Every life is recorded, and its record replays to what happened."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bridge.core.chargers.state import ChargerState
from bridge.recorder import recording, state
from bridge.recorder.writing import content_of
from tests.simulation.lives import Violation
from tests.simulation.options import draw
from tests.simulation.simulation import Simulation
from tests.simulation.witness import SALT, make

ROOT = Path(__file__).parent.parent.parent
COMPARE = """
import sys
from pathlib import Path
from bridge.recorder.checking import digests
from bridge.recorder.record_file import read
from tests.simulation.witness import make

for path in sys.argv[1:]:
    record = read(Path(path).read_bytes())
    assert digests(record, make) == record.digests, path
    print(len(record.digests))
"""


def test_records_of_lives_replay_to_what_happened():
    """The record of each life, as it is and as it would be written, has the effects it had."""
    replayed = 0
    for seed in range(1, 25):
        simulation = Simulation(draw(seed, longest_hours=0.5))
        simulation.run()
        replayed += simulation.replayed

    assert replayed > 5000


class Writing(Simulation):
    """A life that keeps the file which would be written at its random moment."""

    content = b""

    def _replay(self):
        if self.process is not None:
            recorder = self.process.recorder
            self.content, _ = content_of(
                recorder.excerpt(),
                recorder.core.settings,
                SALT,
                version="simulated",
                reason="test",
                now=self.clock.now(),
                make=make,
            )
        super()._replay()


def test_a_record_replays_in_another_process(tmp_path):
    """With another seed for the hashes of texts: no effect depends on the order of a set."""
    paths = []
    for seed in range(1, 13):
        simulation = Writing(draw(seed, longest_hours=0.5))
        simulation.run()
        if simulation.content:
            paths.append(tmp_path / f"{seed}.rec")
            paths[-1].write_bytes(simulation.content)
    for hashes in ("1", "2"):
        ran = subprocess.run(
            [sys.executable, "-c", COMPARE, *map(str, paths)],
            check=False,
            capture_output=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hashes},
        )
        assert ran.returncode == 0, ran.stderr[-2000:]
        assert sum(map(int, ran.stdout.split())) > 500


def _forgetful(monkeypatch):
    """Copy a state without one field of chargers."""
    content = state.content

    def without(value):
        names, held = content(value)
        if isinstance(value, ChargerState):
            held = [{} if name == "_latest" else one for name, one in zip(names, held, strict=True)]
        return names, held

    monkeypatch.setattr(state, "content", without)


def _deaf(monkeypatch):
    """Record every event but acknowledgements."""
    handled = recording.Recorder.handled

    def some(self, event, now, effects):
        if type(event).__name__ != "MqttAcked":
            handled(self, event, now, effects)

    monkeypatch.setattr(recording.Recorder, "handled", some)


@pytest.mark.parametrize("break_it", [_forgetful, _deaf])
def test_an_incomplete_record_is_found_out(break_it, monkeypatch):
    """A state without a field, or a record without some events, is a broken promise."""
    break_it(monkeypatch)
    monkeypatch.setattr(recording, "GENERATION_S", 30.0)
    monkeypatch.setattr(recording, "KEPT_S", 60.0)
    with pytest.raises((Violation, ValueError)):  # noqa: PT012 - one of them finds it
        for seed in range(1, 30):
            Simulation(draw(seed, longest_hours=0.5)).run()
