"""Checks of a record: what differs, what failed, what was or was not published."""

from dataclasses import replace

import pytest

from bridge.core.chargers.state import ChargerState
from bridge.core.commands.service import CommandService
from bridge.core.events import ObservationsReceived
from bridge.recorder.checking import differences, digests, matches, problems, remark
from bridge.recorder.record_file import read
from bridge.recorder.writing import content_of
from tests.recorder.recorded import SECRET, VERSION, Recorded, said


@pytest.fixture
def content():
    """Return a record file of a short life."""
    recorded = Recorded()
    recorded.live()
    recorded.handle(ObservationsReceived((said(120, "7.5", second=30),)))
    content, _ = content_of(
        recorded.recorder.excerpt(),
        recorded.settings,
        SECRET,
        version=VERSION,
        reason="signal",
        now=recorded.now,
    )
    return content


def test_the_same_program_has_no_differences(content):
    """A record replays to what it says."""
    assert list(differences(read(content), VERSION)) == []
    assert remark(read(content), VERSION) == ""


def test_another_program_is_found_out(content, monkeypatch):
    """Another number of effects, and another content of as many, are told with the event."""
    record = read(content)
    shown = replace(record, digests=("0" * 16, *record.digests[1:]))
    (found,) = differences(shown, VERSION)
    assert found.step.number == 0
    assert found.why == "other messages, requests or rows than recorded"
    monkeypatch.setattr(CommandService, "handle", lambda *_: ())

    assert any("instead of" in each.why for each in differences(record, VERSION))


def test_another_version_is_compared_by_what_leaves_the_core(content, monkeypatch):
    """Another number of effects is no difference of its own; another message is one."""
    record = read(content)
    said = [one if type(one) is int else [*one[:2], one[2] + 1] for one in record.entries]
    other = replace(record, entries=said, version="0.9.0")

    assert remark(other, VERSION).startswith("the record is of charger-bridge 0.9.0, this is ")
    assert list(differences(other, VERSION)) == []
    assert len(list(differences(other, "0.9.0"))) == len(record.digests)
    monkeypatch.setattr(ChargerState, "apply", lambda *_, **__: None)
    assert list(differences(other, VERSION))


def test_a_record_without_digests_is_compared_by_numbers_and_says_so(content):
    """Formats 1 and 2 kept nothing else that another version can compare."""
    record = read(content)
    old = replace(record, digests=(), entries=[[*record.entries[0][:2], 99], *record.entries[1:]])

    assert "in an earlier format" in remark(old, VERSION)
    assert "\n" not in remark(old, VERSION)
    (found,) = differences(old, VERSION)
    assert "instead of 99" in found.why


def test_problems_are_failures_and_what_was_expected(content, monkeypatch):
    """A component that fails, a payload that is another one, a topic that must be silent."""
    topic = "charger/EH000001/state/total_power"
    last = "7.5"
    assert problems(content) == []
    assert problems(content, expected={topic: last}) == []
    (found,) = problems(content, expected={topic: "8"})
    assert found == f"{topic}: '7.5' instead of '8'"
    (first, second) = problems(content, never=[topic])
    assert first.endswith(f"{topic} was published: 7.2")
    assert second.endswith(last)
    assert problems(content, until=0, expected={topic: last})
    monkeypatch.setattr(CommandService, "handle", lambda *_: 1 / 0)

    assert any("commands (ZeroDivisionError in " in one for one in problems(content))


def test_digests_tell_effects_apart(content):
    """Each event with effects has a digest of its own content."""
    record = read(content)

    assert digests(record) == record.digests
    assert len(set(record.digests)) > 5


@pytest.mark.parametrize(
    ("wanted", "topic", "is_one"),
    [
        ("a/b", "a/b", True), ("a/+", "a/b", True), ("a/#", "a/b/c", True), ("#", "a", True),
        ("a/#", "a", True), ("a/+", "a/b/c", False), ("a/b", "a", False), ("+/b", "a/c", False),
    ],
)  # fmt: skip
def test_filters_select_topics_as_a_broker_does(wanted, topic, is_one):
    """Both wildcards, and none."""
    assert matches(wanted, topic) is is_one
