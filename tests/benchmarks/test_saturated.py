"""The benchmark of commands under load at a tiny size: that it runs, never how fast."""

import pytest

from benchmarks import contenders, report, saturated


@pytest.mark.broker
def test_commands_reports_and_steps_are_measured_beside_a_load():
    """Each command is answered, each report is found, and the loop's steps are looked at."""
    scene = saturated.Scene("few", 1_000, rounds=1, each=50, pace_s=0.008)

    taken = saturated.run(contenders.GATEWAY_WATCHED, scene)

    assert len(taken.command) == len(taken.echo) >= 2
    assert len(taken.report) >= 2
    assert len(taken.behind) == len(taken.report)
    assert min(*taken.command, *taken.echo, *taken.report) > 0
    assert taken.steps_ms


def test_what_was_measured_becomes_a_table():
    """Medians of all runs; the longest step of any."""
    one = saturated.Taken([0.004], [0.001], [0.005], [0.002])
    other = saturated.Taken([0.006], [0.001], [0.005], [0.002])
    watched = saturated.Taken(steps_ms=[1.5, 6.0], over=1)

    rows = saturated.figures({"idle": [one, other, watched]})

    assert rows["idle"]["command_ms"] == pytest.approx(5.0)
    assert rows["idle"]["longest_step_ms"] == 6.0
    assert rows["idle"]["steps_over"] == 1
    assert "| idle | 5.0 | 6.0 | 1.0 |" in report.saturated({"scenes": rows})
