"""The page of figures is made of what was measured."""

from benchmarks import report
from benchmarks.goals import Goal

PAGE = "before\n<!-- drain -->\nold\n<!-- end -->\n<!-- start -->\nkept\n<!-- end -->\nafter\n"
DRAIN = {
    "reports_s": {"bare": {"median": 2000.0}, "gateway": {"median": 1000.0}},
    "to_bare": {"median": 0.5},
}


def test_a_table_is_filled_and_the_rest_is_left_alone():
    """Only what was measured is written anew."""
    page = report.filled(PAGE, {"drain": DRAIN})

    assert "old" not in page
    assert "1,000, 0.50 of it" in page
    assert "kept" in page
    assert page.startswith("before\n")


def test_writing_twice_changes_nothing():
    """The markers survive."""
    once = report.filled(PAGE, {"drain": DRAIN})

    assert report.filled(once, {"drain": DRAIN}) == once


def test_a_goal_is_met_or_not_by_what_was_measured():
    """The verdict follows from the figures; without figures there is none."""
    goal = Goal("start", 3.0, 2.5, "start", lambda figures: figures["ratio"])

    assert goal.row({"start": {"ratio": 2.4}})[-1] == "yes"
    assert goal.row({"start": {"ratio": 2.6}})[-1] == "no"
    assert goal.row({})[-1] == ""
