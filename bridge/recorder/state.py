"""Complete state of the core: copied in a short time, encoded later, restored into a new core.

Rules:

1. The copy follows every reference from the core, whatever class it is of. What is neither a value,
   a container nor an object of the project is a :class:`~bridge.errors.RecordError` that names it:
   a state that cannot be written completely is not written.
2. :class:`Copy` copies the content of each mutable object once, without what never changes: those
   values are shared until they are encoded. Nothing may be handled between its first and last step.
3. A core is composed as its version composes it: components that came since keep the state of the
   new core, and components that are gone are left out.
4. Functions are not state. A restored core keeps those of a new core with the same settings, and
   what a bound method, a ``partial`` or a closure refers to is restored with it.
"""

import functools
import gc
import itertools
import types
from collections import deque
from collections.abc import Iterator
from typing import Any, Final, cast

import msgspec

from bridge.core.containment import Slot
from bridge.core.router import Router
from bridge.errors import RecordError
from bridge.recorder.values import (
    MAPPINGS,
    UNSET,
    Plain,
    class_name,
    content,
    field_names,
    is_value,
    known_class,
    open_names,
    per_class,
    plain,
    row_names,
    rows,
    set_fields,
    value_of,
)

# How a class is treated: its instances never change, hold others, or are objects of their own.
VALUE, TUPLE, OBJECT, MAPPING, SEQUENCE, CALLABLE = range(6)
METHODS: Final = (types.MethodType, types.BuiltinMethodType, types.MethodWrapperType)
SEQUENCES: Final = (list, set, deque)
# Views of a dict, by their class: they change with it.
VIEWS: Final[dict[type, str]] = {
    type({}.keys()): "keys", type({}.values()): "values", type({}.items()): "items",
}  # fmt: skip
# Functions by the letter of their plain form.
SHAPES: Final[dict[str, Any]] = {
    "b": METHODS, "p": functools.partial, "w": types.FunctionType,
}  # fmt: skip
MAX_NODES: Final = 5_000_000
# Measured sizes in memory of a copy: for each object, and for each of its references.
OBJECT_BYTES: Final = 200
REFERENCE_BYTES: Final = 8


@per_class
def _treatment(kind: type) -> int:
    """Return how instances of a class are copied.

    Raises:
        RecordError: It is none of those that a record can hold.
    """
    if issubclass(kind, type) or is_value(kind):
        return VALUE
    if kind is tuple or kind is frozenset:
        return TUPLE
    if kind.__name__ in MAPPINGS:
        return MAPPING
    if kind in SEQUENCES or kind is itertools.count:
        return SEQUENCE
    if kind in (*METHODS, *VIEWS, types.FunctionType, functools.partial):
        return CALLABLE
    if kind.__module__.startswith("bridge.") and not issubclass(kind, BaseException):
        return OBJECT
    if issubclass(kind, BaseException) or kind in (object, bytearray):
        return VALUE
    raise RecordError(f"the state of the core holds a {class_name(kind)}, which no record can hold")


def _is_function(value: object) -> bool:
    return isinstance(value, (*METHODS, functools.partial, types.FunctionType))


def _referred(function: Any) -> tuple[object, ...]:
    """Return what a function refers to besides its module."""
    if isinstance(function, METHODS):
        return (function.__self__,)
    if type(function) in VIEWS:
        return tuple(gc.get_referents(function))
    if isinstance(function, functools.partial):
        return (function.func, function.args, function.keywords)
    return tuple(cell.cell_contents for cell in function.__closure__ or ())


class Copy:
    """A copy of the state of an object, made in steps.

    Attributes:
        is_done: Nothing is left to copy.
        bytes: Estimated size in memory, without the values that it shares with the object.
    """

    def __init__(self, root: object) -> None:
        self.bytes = 0
        self._root = root
        self._index: dict[int, int] = {}
        self._objects: list[object] = []
        self._held: list[Any] = []
        self._rows = row_names()
        self._treatments: dict[type, int] = {}
        self._seen: set[int] = set()
        self._kept: list[object] = []
        self._find((root,))

    @property
    def is_done(self) -> bool:
        """Whether every object is copied."""
        return len(self._held) == len(self._objects)

    @property
    def size(self) -> int:
        """How many objects are known of."""
        return len(self._objects)

    @property
    def objects(self) -> tuple[object, ...]:
        """Return the objects that are known of."""
        return tuple(self._objects)

    def step(self, most: int) -> bool:
        """Copy at most so many objects more; return whether any are left."""
        until = min(len(self._held) + most, len(self._objects))
        while len(self._held) < until:
            self._copy(self._objects[len(self._held)])
            if len(self._objects) > until:
                until = min(until, len(self._objects))
        return not self.is_done

    def _copy(self, one: Any) -> None:
        how = _treatment(type(one))
        held: Any
        if how == OBJECT:
            held = content(one)
            self._find(held[1])
            references = len(held[1])
        elif how == MAPPING:
            held = (list(one.keys()), list(one.values()))
            self._find(held[0])
            self._find(held[1])
            references = 2 * len(held[0])
        elif type(one) is itertools.count:
            held, references = plain(one), 1
        else:
            held = list(one)
            self._find(held)
            references = len(held)
        self._held.append(held)
        self.bytes += OBJECT_BYTES + REFERENCE_BYTES * references

    def _find(self, values: Any) -> None:
        """List the objects among some values."""
        known = self._treatments
        for value in values:
            kind = type(value)
            how = known.get(kind)
            if how is None:
                how = known[kind] = _treatment(kind)
            if how == VALUE:
                continue
            if how == TUPLE:
                self._find(value)
            elif how == CALLABLE:
                if id(value) not in self._rows and id(value) not in self._seen:
                    self._seen.add(id(value))
                    self._kept.append(value)  # so that its identity stays its own
                    self._find(_referred(value))
            elif id(value) not in self._index and id(value) not in self._rows:
                self._index[id(value)] = len(self._objects)
                self._objects.append(value)

    # -- the plain form ----------------------------------------------------------------------

    def encoded(self) -> Iterator[Plain]:
        """Yield the plain form of the root, then of each object.

        Raises:
            RecordError: Something in it cannot be written.
        """
        yield self._encode(self._root)
        held = self._held
        for number, one in enumerate(self._objects):
            yield self._node(one, held[number])

    def _node(self, one: Any, held: Any) -> Plain:
        how, kind, encode = _treatment(type(one)), type(one), self._encode
        if how == OBJECT:
            values = [["u"] if each is UNSET else encode(each) for each in held[1]]
            return ["o", class_name(kind), list(held[0]), values]
        if how == MAPPING:
            return [
                "M",
                kind.__name__,
                [encode(key) for key in held[0]],
                list(map(encode, held[1])),
            ]
        if kind is itertools.count:
            return ["n", held]
        if kind is set:
            return ["Z", sorted(map(encode, held), key=repr)]
        if kind is deque:
            return ["Q", list(map(encode, held)), one.maxlen]
        return ["L", list(map(encode, held))]

    def _encode(self, value: Any) -> Plain:
        kind = type(value)
        how = _treatment(kind)
        if how == VALUE:
            return plain(value)
        if how == TUPLE:
            return plain(value, self._encode)
        if id(value) in self._rows:
            return ["k", self._rows[id(value)]]
        if how != CALLABLE:
            return ["r", self._index[id(value)]]
        if isinstance(value, METHODS):
            return ["b", self._encode(value.__self__), value.__name__]
        if kind in VIEWS:
            return ["V", VIEWS[kind], *map(self._encode, _referred(value))]
        if isinstance(value, functools.partial):
            args, keywords = self._encode(value.args), self._encode(value.keywords)
            return ["p", self._encode(value.func), args, keywords]
        return ["w", value.__qualname__, *map(self._encode, _referred(value))]


def copied(root: object) -> list[Plain]:
    """Return the plain form of an object's state, made in one step."""
    copy = Copy(root)
    while copy.step(MAX_NODES):
        pass
    return list(copy.encoded())


# -- restoring -----------------------------------------------------------------------------------


class _Place(msgspec.Struct, frozen=True):
    """An object that is to be filled.

    Attributes:
        node: Its plain form.
        target: The object.
    """

    node: Plain
    target: Any


class _Restoring:
    """Restores the objects of one record."""

    def __init__(self, nodes: list[Plain]) -> None:
        self._nodes = nodes
        self._objects: dict[int, Any] = {}
        self._used: set[int] = set()
        self._open: deque[_Place] = deque()
        self._paired: dict[int, object] = {}
        # Components and slots of the new core, by name: the record has those of its version.
        self._components: dict[str, Any] = {}

    def run(self, root: Plain, fresh: object) -> Any:
        try:
            self._pair(root, fresh)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise RecordError(f"the state is damaged: {error}") from error
        found = self._value(root, fresh)
        while self._open:
            place = self._open.popleft()
            try:
                FILLERS[place.node[0]](self, place.target, *place.node[1:])
            except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
                raise RecordError(f"{str(place.node)[:80]} is no state: {error}") from error
        return found

    def _pair(self, root: Plain, fresh: object) -> None:
        """Pair the objects of the record with those that a new core has in any of their places.

        Before any is restored: an earlier version may have had an object elsewhere too, where a new
        core has nothing.
        """
        places: deque[tuple[Plain, object]] = deque([(root, fresh)])
        while places:
            said, hint = places.popleft()
            if type(said) is not list or not said or hint is None:
                continue
            if said[0] == "t" and isinstance(hint, tuple):
                places.extend(zip(said[1:], hint, strict=False))
            elif said[0] == "b" and isinstance(hint, METHODS):
                places.append((said[1], hint.__self__))
            elif said[0] in ("p", "w") and isinstance(hint, SHAPES[said[0]]):
                places.extend(zip(said[-len(_referred(hint)) :], _referred(hint), strict=False))
            elif said[0] == "r" and said[1:] and type(said[1]) is int:
                places.extend(self._paired_with(said[1], hint))

    def _paired_with(self, number: int, hint: Any) -> Iterator[tuple[Plain, object]]:
        """Pair one object, and yield what it holds in the record and in the new core."""
        if number in self._paired or not 0 <= number < len(self._nodes) or id(hint) in self._used:
            return
        node = self._nodes[number]
        if not self._are_alike(node, hint):
            return
        self._paired[number] = hint
        self._used.add(id(hint))
        if isinstance(hint, Router):
            self._components = hint.components
            yield from self._slots_by_name(node, hint._slots)  # noqa: SLF001 - it is state
        if node[0] == "o" and len(node) > 3:  # noqa: PLR2004 - letter, class, names, values
            for name, one in zip(node[2], node[3], strict=False):
                yield one, getattr(hint, str(name), None)
        elif node[0] == "M" and len(node) > 3:  # noqa: PLR2004 - letter, class, keys, values
            for key, one in zip(node[2], node[3], strict=False):
                if isinstance(key, str | int):
                    yield one, cast("Any", hint).get(key)
        elif node[0] in ("L", "Q") and len(node) > 1:
            yield from zip(node[1], cast("Any", hint), strict=False)

    def _are_alike(self, node: Plain, hint: object) -> bool:
        """Return whether an object of the record may be one of the new core."""
        kind = _kind_of(node)
        if type(hint) is not kind or kind is itertools.count:
            return False
        return not isinstance(hint, Slot) or self._name_of(node) == hint.name

    def _slots_by_name(
        self, node: Plain, slots: tuple[Slot, ...]
    ) -> Iterator[tuple[Plain, object]]:
        """Yield the slots of a record with those of the new core for the same components."""
        by_name = {slot.name: slot for slot in slots}
        for one in dict(zip(node[2], node[3], strict=True)).get("_slots", ["t"])[1:]:
            yield one, by_name.get(self._name_of(self._node(one[1])))

    @staticmethod
    def _name_of(node: Plain) -> str:
        return str(dict(zip(node[2], node[3], strict=True)).get("name"))

    def _value(self, said: Plain, hint: object) -> Any:
        """Return a value; ``hint`` is what a new core has in its place."""
        if type(said) is not list:
            return said
        kind = said[0]
        shape = SHAPES.get(str(kind))
        if shape is not None and _is_function(hint) and not isinstance(hint, shape):
            return hint  # an earlier version had another kind of function there
        if kind == "k" and _is_function(hint) and str(said[1]) not in rows():
            return hint  # a function that was renamed or moved
        if kind == "r":
            return self._object(said[1])
        if kind == "t":
            hints = hint if isinstance(hint, tuple) else ()
            return tuple(itertools.starmap(self._value, _paired(said[1:], hints)))
        if kind == "b":
            return self._method(said, hint)
        if kind == "V":
            return self._view(said, hint)
        if kind in ("p", "w"):
            return self._function(said, hint)
        return value_of(said)

    def _function(self, said: Plain, hint: object) -> object:
        name = "partial" if said[0] == "p" else said[1]
        if not isinstance(hint, SHAPES[said[0]]):
            raise RecordError(f"the function {name} is no state")
        if said[0] == "p":
            self._same(said[1:], _referred(hint), name)
        elif cast("Any", hint).__qualname__ == name:  # else as above
            self._same(said[2:], _referred(hint), name)
        return hint

    def _same(self, said: list[Plain], held: tuple[object, ...], name: str) -> None:
        """Restore what a function of the new core refers to; it must be the same object."""
        for one, hint in _paired(said, held):
            value = self._value(one, hint)
            if value is not hint and value != hint and not _are_slots(value):
                raise RecordError(f"the function {name} refers to an object that was replaced")

    def _view(self, said: Plain, hint: object) -> object:
        name, owner = said[1:]
        is_view = VIEWS.get(type(hint)) == name
        target = self._value(owner, _referred(hint)[0] if is_view else None)
        if is_view and _referred(hint)[0] is target:
            return hint
        if not isinstance(target, dict) or name not in VIEWS.values():
            raise RecordError(f"{str(said)[:80]} is no view of a dict")
        return getattr(target, name)()

    def _method(self, said: Plain, hint: object) -> object:
        owner, name = said[1:]
        is_method = isinstance(hint, METHODS)
        if is_method and owner[0] == "r" and not self._has_method(owner[1], name):
            return hint  # an earlier version had it elsewhere
        target = self._value(owner, cast("Any", hint).__self__ if is_method else None)
        if is_method and cast("Any", hint).__self__ is target:
            return hint
        if not callable(getattr(type(target), name, None)):
            raise RecordError(f"{class_name(type(target))} has no method {name}")
        return getattr(target, name)

    def _has_method(self, number: int, name: str) -> bool:
        return callable(getattr(_kind_of(self._node(number)), name, None))

    def _node(self, number: int) -> Plain:
        if type(number) is not int or not 0 <= number < len(self._nodes):
            raise RecordError(f"there is no object {number}")
        return self._nodes[number]

    def _object(self, number: int) -> Any:
        node = self._node(number)
        if number in self._objects:
            return self._objects[number]
        kind = _kind_of(node)
        if kind is types.MappingProxyType:  # never filled itself
            held: dict[Any, Any] = {}
            proxy = self._objects[number] = types.MappingProxyType(held)
            self._open.append(_Place(node, held))
            return proxy
        paired = self._paired.get(number)
        target = _empty(kind, node) if paired is None else paired
        self._objects[number] = target
        self._open.append(_Place(node, target))
        return target

    def fill_object(self, target: Any, _name: str, names: list[str], held: list[Plain]) -> None:
        kind = type(target)
        known = field_names(kind) or open_names(kind)
        # A field that this version does not have may refer to what it does not have either.
        pairs = [(name, one) for name, one in zip(names, held, strict=True) if name in known]
        values = [self._value(one, getattr(target, name, None)) for name, one in pairs]
        if kind is Router:
            pairs, values = [], []  # the slots are filled by now, and their row is its own
        set_fields(target, [name for name, _ in pairs], values)

    def fill_mapping(self, target: Any, _name: str, keys: list[Plain], held: list[Plain]) -> None:
        found = [self._value(key, None) for key in keys]
        values = [self._value(one, target.get(key)) for key, one in zip(found, held, strict=True)]
        if target is self._components:
            return
        target.clear()
        for key, one in zip(found, values, strict=True):
            target[key] = one

    def fill_sequence(self, target: Any, held: list[Plain], *_maxlen: object) -> None:
        hints = () if isinstance(target, set) else tuple(target)
        values = list(itertools.starmap(self._value, _paired(held, hints)))
        target.clear()
        (target.update if isinstance(target, set) else target.extend)(values)

    def fill_nothing(self, *_said: object) -> None:
        """Do nothing: it is complete when it is made."""


FILLERS: Final[dict[str, Any]] = {
    "o": _Restoring.fill_object,
    "M": _Restoring.fill_mapping,
    "L": _Restoring.fill_sequence,
    "Z": _Restoring.fill_sequence,
    "Q": _Restoring.fill_sequence,
    "n": _Restoring.fill_nothing,
}
_KINDS: Final[dict[str, type]] = {"L": list, "Z": set, "Q": deque, "n": itertools.count}


def _paired(said: list[Plain], hints: Any) -> Iterator[tuple[Plain, object]]:
    return zip(said, itertools.chain(hints, itertools.repeat(None)), strict=False)


def _are_slots(value: object) -> bool:
    """Return whether a value is a row of slots, of which each version has its own."""
    return isinstance(value, tuple) and all(type(one) is Slot or _are_slots(one) for one in value)


def _kind_of(node: Plain) -> type:
    try:
        if node[0] == "o":
            return known_class(node[1])
        return cast("type", MAPPINGS[node[1]]) if node[0] == "M" else _KINDS[node[0]]
    except (KeyError, IndexError, TypeError) as error:
        raise RecordError(f"{str(node)[:80]} is no object") from error


def _empty(kind: type, node: Plain) -> Any:
    """Return a new object to be filled."""
    if kind is itertools.count:
        return value_of(node[1])
    if kind is deque:
        return deque(maxlen=node[2])
    if issubclass(kind, msgspec.Struct):
        return kind(**dict.fromkeys(field_names(kind) or ()))
    return kind.__new__(kind)


def restored(state: list[Plain], fresh: object) -> Any:
    """Return an object with a recorded state, made of a new one with the same settings.

    Args:
        state: From :func:`copied`.
        fresh: A new object; what it has is used where it is in the same place.

    Raises:
        RecordError: It is no state, or not one of this version.
    """
    if not state:
        raise RecordError("the record has no state")
    return _Restoring(state[1:]).run(state[0], fresh)
