"""Subjects: the parts of a topic."""

import pytest

from bridge.core.subjects import Subject, subject_of


@pytest.mark.parametrize(
    ("topic", "subject"),
    [
        ("charger/EH123456/state/op_mode", Subject("EH123456", "state", "op_mode")),
        ("EH123456/result/start", Subject("EH123456", "result", "start")),
        ("charger/bridge/alert/a/b", Subject("bridge", "alert", "a/b")),
        ("charger/EH123456/availability", Subject("EH123456", "availability", "")),
        ("", Subject("", "", "")),
    ],
)
def test_a_topic_is_read_with_and_without_its_base(topic, subject):
    """The base topic may be left out."""
    assert subject_of(topic, "charger") == subject
