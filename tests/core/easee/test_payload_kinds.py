"""Kinds of payload: reader and shape agree on the values at and around their bounds."""

import jsonschema
import pytest

from bridge.core.easee import payload_kinds
from bridge.core.easee.payload_kinds import PayloadKind, choice, whole
from bridge.errors import CommandRefused

MAX_A = 25
KINDS = {name: kind for name, kind in vars(payload_kinds).items() if isinstance(kind, PayloadKind)}
KINDS |= {"WHOLE": whole(0, 100, "%"), "CHOICE": choice({"open": 1, "account": 2}, "a word")}
VALUES = [
    None, True, False, {}, "PRESS", "on", "off", "clear", "open", "OPEN", "account", "x", "",
    -1, 0, 1, 2, 3, 5, 6, 7, 24, 25, 26, 99, 100, 101, 599, 600, 601,
    "6", "6.5", "+25", "26", 6.5, 24.9, {"value": 6}, {"amps": 6}, {"amps": 6, "minutes": 5},
    {"amps": 6, "hours": 5}, {"phase1": 6, "phase2": 6, "phase3": 6}, {"phase1": 6},
    {"timeout": 1}, {"timeout": 601}, {"chargeStartTime": "2026-11-22T22:00:00Z"},
    {"days": [], "isEnabled": True}, {"days": [{"dayOfWeek": 7, "ranges": []}]},
]  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_reader_and_shape_agree(name):
    """What the shape lets through the reader takes, and nothing else."""
    kind = KINDS[name]
    shape = kind.shape(MAX_A)
    forms = [*shape.bare, *(keys.schema() for keys in shape.objects)]
    judge = jsonschema.Draft202012Validator({"anyOf": forms})
    taken = [value for value in VALUES if is_read(kind, value)]

    assert taken
    assert [value for value in VALUES if judge.is_valid(value)] == taken
    assert kind.text


def is_read(kind, value):
    """Say whether the reader takes a value."""
    try:
        kind.read(value, MAX_A)
    except CommandRefused:
        return False
    return True
