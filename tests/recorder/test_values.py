"""Plain form of values: what is read is what was written, and nothing else can be read."""

import builtins
import dis
import types
from collections import Counter, OrderedDict, deque
from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.changes import Change
from bridge.core.easee.command_catalogue import CATALOGUE
from bridge.core.effects import Action, LogEntry
from bridge.core.events import CloudFailed, ComponentFailed, Event, MqttAcked, Tick
from bridge.core.messages import Publish, Tag
from bridge.errors import CloudRejected, RecordError
from bridge.recorder import values
from bridge.recorder.values import (
    classes,
    content,
    is_value,
    modules,
    open_names,
    outward,
    plain,
    row_of,
    value_of,
)
from bridge.settings import Secret
from tests.recorder.recorded import Recorded
from tests.simulation.witness import unknown_fields

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
    | st.binary() | st.timedeltas() | st.datetimes(timezones=st.just(UTC))
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text(), inner)
        | st.dictionaries(st.text(), inner).map(OrderedDict)
        | st.frozensets(st.text() | st.integers())
        | st.lists(inner, max_size=4).map(lambda held: deque(held, 5))
    ),
    max_leaves=10,
)


def _by_dis(code) -> list[str]:
    """Return the attributes that a function assigns."""
    found = [one.argval for one in dis.get_instructions(code) if one.opname == "STORE_ATTR"]
    inner = (one for one in code.co_consts if isinstance(one, types.CodeType))
    return found + [name for one in inner for name in _by_dis(one)]


def test_assignments_are_those_that_the_disassembler_finds():
    """In every function of the program, one with more names than a byte counts included."""
    many = "\n".join(f" self.a{number} = self.b.c = other.d = number" for number in range(300))
    held: dict[str, object] = {}
    exec(f"def many(self, other, number):\n{many}", held)
    functions = [held["many"]]
    functions += [one for module in modules() for one in vars(module).values()]
    functions += [one for kind in classes().values() for one in vars(kind).values()]
    codes = [one.__code__ for one in functions if isinstance(one, types.FunctionType)]

    assert len(codes) > 1000
    for code in codes:
        assert list(values._stores(code)) == _by_dis(code)


@given(VALUES)
def test_what_is_read_is_what_was_written(value):
    """Every value has a plain form, and the plain form has that value, of the same types."""
    again = value_of(plain(value))

    assert again == value
    assert type(again) is type(value)
    assert plain(again) == plain(value)


def test_an_event_keeps_what_it_carries():
    """Messages, tags and errors come back with all their fields."""
    acked = MqttAcked(Publish("a/b", b"\xff", tag="t", correlation=b"c"), 16)
    failed = CloudFailed(Tag("x", ("y", 1)), CloudRejected("no", status=400, reason="busy", code=7))

    assert value_of(plain(acked)) == acked
    again = value_of(plain(failed))
    assert again.tag == failed.tag
    assert str(again.error) == "no"
    assert vars(again.error) == vars(failed.error)


def test_an_error_of_a_library_is_kept_by_its_next_kind_and_its_text():
    """A foreign class of error is not in the record; a component sees its type and its text."""

    class Foreign(KeyError):
        pass

    again = value_of(plain(ComponentFailed("x", "y", Foreign("why"))))

    assert type(again.error) is KeyError
    assert again.error.args == (str(Foreign("why")),)


def test_no_secret_is_written():
    """A password is replaced by a word before anything else happens."""
    assert b"canary" not in repr(plain(Secret("canary"))).encode()
    assert value_of(plain(Secret("canary"))) == Secret("hidden")


def test_rows_of_tables_are_named_and_not_repeated():
    """A row of the catalogue comes back as the very row."""
    row = CATALOGUE["start"]

    assert plain(row)[0] == "k"
    assert value_of(plain(row)) is row
    assert row_of(plain(row)[1]) is row


def test_every_event_effect_and_change_is_a_class_of_a_record():
    """What the loop hands to the core, and what the core yields, can be written by name."""
    named = classes().values()

    for kind in (*get_args(Event), *get_args(Action), *get_args(Change)):
        assert kind in named


def test_what_never_changes_is_known_by_its_annotations():
    """Frozen values of frozen values are shared, anything else is copied."""
    assert is_value(Publish)
    assert is_value(Tick)
    assert not is_value(LogEntry)
    assert not is_value(dict)


def test_a_class_that_no_record_can_hold_is_named():
    """An object of another package is refused with its name."""
    with pytest.raises(RecordError, match=r"collections:ChainMap"):
        plain(__import__("collections").ChainMap())


@pytest.mark.parametrize(
    "said",
    [
        ["v", "os:path", []], ["v", "builtins:object", []], ["k", "os:system"], ["x", "nobody"],
        ["x", "SystemExit", ["t"], ["m", "dict"]], ["x", "KeyboardInterrupt", ["t"], ["m", "dict"]],
        ["T", "builtins:print"], ["T", "os:system"], ["?"], [], ["d", 5], ["v"], [["v"]], ["e", 1],
        ["m", "eval", []], ["c", "bridge.core.events:Tick", "x"], ["i", "x" * 50], ["q", -1],
        ["v", "bridge.core.events:MqttMessage", ["topic"], "t"], {"v": 1},
        ["e", "bridge.core.events:Tick", "__class__"], ["x", "print", ["t"], ["m", "dict"]],
    ],
)  # fmt: skip
def test_nothing_else_can_be_read(said):
    """A name of a function, a foreign class or a damaged value is an error of one kind."""
    with pytest.raises(RecordError):
        value_of(said)


@given(st.recursive(SCALARS | st.sampled_from("vxkTedmctlfsqBniSu"), st.lists, max_leaves=8))
def test_whatever_is_read_ends_in_a_value_or_in_one_error(said):
    """No plain form, however it is made, raises anything else."""
    try:
        value_of(said)
    except RecordError as error:
        assert str(error)  # noqa: PT017 - both are allowed


def test_fields_that_came_since_have_their_default():
    """A record of an earlier version has fewer fields and perhaps one that is gone."""
    said = plain(MqttAcked(Publish("a", b""), 0))
    older = ["v", said[1], [*said[2], "gone"], *said[3:], 5]
    entry = ["v", "bridge.core.effects:LogEntry", ["level", "event"], "info", "a.b"]

    assert value_of(older) == value_of(said)
    assert value_of(entry) == LogEntry("info", "a.b")


def test_modules_are_those_of_the_core():
    """Nothing outside the core, its conventions and its settings can be named."""
    names = {module.__name__ for module in modules()}

    assert "bridge.core.router" in names
    assert not any(name.startswith(("bridge.adapters", "bridge.cli")) for name in names)
    assert not any(kind.__module__ == builtins.__name__ for kind in classes().values())


def test_every_field_of_a_core_is_found_without_asking_for_its_dict():
    """No object has a field that neither its class nor another function assigns by name."""
    recorded = Recorded()
    recorded.live()

    assert unknown_fields(recorded.core) == ""


def test_an_object_without_slots_keeps_its_speed():
    """Its ``__dict__`` is not asked for: only names that are assigned somewhere are read."""

    class Part:
        kind = "part"

        def __init__(self):
            self.one, self._two = 1, 2

        def grow(self):
            self.three = 3

        @property
        def four(self):
            return 4

    Part.__module__ = "bridge.core.router"
    part = Part()
    assert dict(zip(*content(part), strict=True)) == {"one": 1, "_two": 2}
    part.grow()

    assert dict(zip(*content(part), strict=True)) == {"one": 1, "_two": 2, "three": 3}
    assert "four" not in open_names(Part)


def test_objects_have_fields_by_slots():
    """The fields of slotted and inherited classes are found."""

    class Base:
        __slots__ = ("_one",)

    class Derived(Base):
        __slots__ = ("two",)

    derived = Derived()
    derived._one, derived.two = 1, 2

    assert dict(zip(*content(derived), strict=True)) == {"_one": 1, "two": 2}
    assert Counter(a=1) == value_of(plain(Counter(a=1)))
    assert value_of(plain(timedelta(days=-1, microseconds=3))) == timedelta(days=-1, microseconds=3)
    assert value_of(plain(datetime(2026, 1, 1, tzinfo=UTC))).tzinfo is not None


def test_the_outward_form_is_that_of_a_version_with_other_modules_and_fields():
    """A class that was moved, and a field that came with a default, are told alike."""
    said = plain(Publish("a/b", b"1", tag="x"))
    kind, name, names, *held = said
    moved = [kind, name.replace("bridge.core.messages", "bridge.moved"), names[:4], *held[:4]]

    assert outward(said) == ["Publish", ["topic", "a/b"], ["payload", b"1"], ["tag", "x"]]
    assert outward(moved)[:3] == outward(said)[:3]
    assert outward(plain(Publish("a/b", b"2"))) != outward(plain(Publish("a/b", b"1")))


@given(VALUES)
def test_values_of_python_have_an_outward_form_of_their_own(value):
    """Nothing of what is no class of the program is left out."""
    assert outward(plain(value)) == plain(value)
