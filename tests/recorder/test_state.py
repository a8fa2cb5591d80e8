"""State of a core: copied completely, restored exactly, and what cannot be copied is named."""

import functools
import itertools
import types
from collections import deque

import pytest

from bridge.core.composition import Core
from bridge.core.easee.decode import Observation
from bridge.core.events import MqttConnected, StreamOpened, Tick
from bridge.core.records.discovery_record import PublishedDiscovery
from bridge.core.records.moment import Timestamp
from bridge.errors import RecordError
from bridge.recorder.replaying import new_core
from bridge.recorder.state import Copy, copied, restored
from bridge.recorder.values import plain
from tests.conftest import NOON
from tests.recorder.recorded import Recorded


@pytest.fixture
def lived():
    """Return a core that lived a little."""
    recorded = Recorded()
    recorded.live()
    return recorded


def test_every_component_of_the_program_can_be_copied(lived):
    """The state of every component is complete, also of guests, before and after a life.

    A class that no record can hold fails here with its name: give it fields of plain values, or a
    method instead of a function that was made at run time.
    """
    for core in (new_core(lived.empty), lived.core):
        state = copied(core)
        again = restored(state, new_core(lived.empty))
        assert copied(again) == state


def test_a_restored_core_shares_what_was_shared(lived):
    """Components that referred to one object do so again, and no function refers to an old one."""
    core = restored(copied(lived.core), new_core(lived.empty))
    components = core.components

    assert core.alerts is components["broker"]._alerts
    assert core.status.reports() == lived.core.status.reports()
    assert core.deadline_s.func.__self__ is core.contained
    assert core.handle.__self__.components is components


def test_a_state_is_no_longer_that_of_the_core(lived):
    """What happens behind a copy does not change it."""
    copy = Copy(lived.core)
    while copy.step(7):
        pass
    before = list(copy.encoded())
    lived.live()

    assert list(copy.encoded()) == before
    assert copied(lived.core) != before


def test_steps_are_as_long_as_wanted(lived):
    """A copy takes as many steps as there are objects for."""
    copy, steps = Copy(lived.core), 1
    while copy.step(10):
        steps += 1

    assert copy.is_done
    assert steps >= copy.size / 10


class Part:
    """An object of a component."""

    def __init__(self, held):
        self.held = held

    def method(self):
        """Return what it holds."""
        return self.held


Part.__module__ = Core.__module__


@pytest.mark.parametrize(
    "held", [(x for x in ()), open, memoryview(b""), iter([1]), Ellipsis.__class__]
)
def test_what_cannot_be_copied_is_named(held, lived):
    """A generator, an iterator or a foreign object in a component is named by its class."""
    lived.core.subscriptions = held
    if held is Ellipsis.__class__:
        assert copied(lived.core)  # a class is a value
        return
    with pytest.raises(RecordError, match=r"holds a|cannot hold|is no state"):
        restored(copied(lived.core), new_core(lived.empty))


def test_a_function_made_at_run_time_is_no_state(lived):
    """A closure that a new core does not have cannot be restored, and the error names it."""
    held = 5
    lived.core.subscriptions = lambda: held

    with pytest.raises(RecordError, match="lambda"):
        restored(copied(lived.core), new_core(lived.empty))


def test_containers_keep_their_kind_and_their_place(lived):
    """Lists, sets, queues and counters are filled again, with the same object in two places."""
    shared = [1, 2]
    core, fresh = lived.core, new_core(lived.empty)
    core.subscriptions = {
        "list": shared, "again": (shared, {"x"}), "queue": deque([1, 2, 3], 5), "set": {1, 2},
        "numbers": itertools.count(7),
    }  # fmt: skip
    extra = restored(copied(core), fresh).subscriptions

    assert extra["list"] is extra["again"][0]
    assert extra["queue"] == deque([1, 2, 3])
    assert extra["queue"].maxlen == 5
    assert extra["set"] == {1, 2}
    assert next(extra["numbers"]) == 7


def test_a_view_of_a_dict_is_one_of_the_restored_dict(lived):
    """Keys that a component follows are those of the dict that another one changes."""
    held = {"a": 1}
    lived.core.subscriptions = (held, held.keys(), held.items())
    held, keys, items = restored(copied(lived.core), new_core(lived.empty)).subscriptions
    held["b"] = 2

    assert list(keys) == ["a", "b"]
    assert list(items) == [("a", 1), ("b", 2)]


def test_a_partial_function_refers_to_the_restored_objects(lived):
    """What a new core's partial function calls is the object whose state was restored."""
    fresh = new_core(lived.empty)
    core = restored(copied(lived.core), fresh)
    expects = core.components["observations"]._expects

    assert isinstance(expects, functools.partial)
    assert expects.args[1].__self__ is core.components["commands"].inner


def test_what_an_earlier_version_had_elsewhere_is_that_of_the_new_core(lived):
    """A method that moved, another kind of function, and a field that is gone are passed over."""
    state = copied(lived.core)
    core, fields = state[1], dict(zip(state[1][2], state[1][3], strict=True))
    router = fields["handle"][1]
    moved = ["k", "bridge.core.composition:moved"]
    for older in (["p", 1, 2, 3], ["w", "Core.handle"], ["b", router, "other_name"], moved):
        changed = fields | {"handle": older, "_gone": ["b", router, "other_name"]}
        node = [*core[:2], list(changed), list(changed.values())]
        again = restored([state[0], node, *state[2:]], new_core(lived.empty))

        assert callable(again.handle)
        assert not hasattr(again, "_gone")
        assert copied(again.status) == copied(lived.core.status)


def test_a_component_that_came_since_is_that_of_the_new_core(lived):
    """A record of a core without it is replayed in one with it, which gives it events."""
    settings, empty = lived.settings, lived.empty
    older = Core(settings, version=empty.version, salt=empty.salt)
    older.handle(StreamOpened(), lived.now)
    again = restored(copied(older), new_core(empty))
    router = again.handle.__self__

    assert "homeassistant" in again.components
    assert again.components is router.components
    assert [slot.name for slot in router._slots] == list(again.components)
    assert copied(again.status) == copied(older.status)
    assert again.status.cloud.stream_up
    effects = again.handle(MqttConnected(False, "5", 20), lived.now)
    assert again.components["homeassistant"]._is_connected
    assert effects == older.handle(MqttConnected(False, "5", 20), lived.now)
    assert isinstance(again.deadline_s(), float)


def test_a_component_that_is_gone_is_left_out(lived):
    """The other way round: what the record has of it is passed over."""
    newer, empty = lived.core, lived.empty
    fresh = Core(lived.settings, version=empty.version, salt=empty.salt)
    again = restored(copied(newer), fresh)

    assert "homeassistant" not in again.components
    assert copied(again.status) == copied(newer.status)
    assert again.handle(Tick(), lived.now) is not None
    assert not again.contained.errors


def test_a_dict_that_cannot_be_changed_is_one_again(lived):
    """Of its own, and within a value."""
    lived.core.subscriptions = (types.MappingProxyType({"a": (1, "b")}), PublishedDiscovery("x"))
    proxy, record = restored(copied(lived.core), new_core(lived.empty)).subscriptions

    assert dict(proxy) == {"a": (1, "b")}
    assert isinstance(proxy, types.MappingProxyType)
    assert dict(record.components) == {}


def test_an_object_of_its_own_is_made_again(lived):
    """An object that only the record has is made without calling its class."""
    lived.core.subscriptions = Timestamp(NOON, 1.0)
    core = restored(copied(lived.core), new_core(lived.empty))

    assert core.subscriptions == Timestamp(NOON, 1.0)
    assert Observation.__module__ in plain(Observation)[1]


@pytest.mark.parametrize(
    "damage",
    [
        lambda state: [],
        lambda state: [["r", 99_999], *state[1:]],
        lambda state: [["r", "x"], *state[1:]],
        lambda state: [["r", True], *state[1:]],
        lambda state: [["b", ["r", 0], "nothing"], *state[1:]],
        lambda state: [state[0], ["o", "os:path", [], []], *state[2:]],
        lambda state: [state[0], ["o", state[1][1]], *state[2:]],
        lambda state: [state[0], ["o", state[1][1], ["status"], [["w", "x"]]], *state[2:]],
        lambda state: [state[0], ["o", state[1][1], ["status"], [["p", 1]]], *state[2:]],
        lambda state: [state[0], ["?"], *state[2:]],
        lambda state: [state[0], 5, *state[2:]],
        lambda state: [state[0], ["M", "eval", [], []], *state[2:]],
        lambda state: [[*node[:2], 2**63] if node[0] == "Q" else node for node in state],
    ],
)
def test_a_damaged_state_is_an_error_of_one_kind(damage, lived):
    """A reference to nothing, a foreign class or a wrong shape is refused."""
    lived.core.subscriptions = deque((1,), maxlen=2)
    with pytest.raises(RecordError):
        restored(damage(copied(lived.core)), new_core(lived.empty))
