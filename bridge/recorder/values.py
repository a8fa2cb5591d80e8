"""Plain form of the project's values: what a record is made of, and what is read back from one.

Rules:

1. A record is untrusted input. Nothing in it names code: only classes of :data:`PACKAGES`, rows of
   their tables and exceptions of Python are made again, and no function is called by name.
2. What cannot be written is an :class:`~bridge.errors.RecordError` that names the class.
3. The plain form has None, booleans, numbers, texts, bytes and lists. A list begins with the
   letter of its kind, see :data:`DECODERS`.
"""

import builtins
import importlib
import itertools
import opcode
import operator
import sys
import types
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from datetime import datetime, timedelta
from enum import Enum
from functools import cache
from typing import Any, Final, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import msgspec

from bridge.errors import RecordError
from bridge.settings import Secret

Plain = Any
PACKAGES: Final = (
    "bridge.core", "bridge.conventions", "bridge.settings", "bridge.errors",
    "bridge.recorder.links",
)  # fmt: skip
MAX_INT: Final = 2**63
SCALARS: Final = (type(None), bool, float, str, bytes)
MAPPINGS: Final[dict[str, Any]] = {
    "dict": dict, "OrderedDict": OrderedDict, "Counter": Counter,
    "mappingproxy": types.MappingProxyType,
}  # fmt: skip
# A slot of an object that was never assigned.
UNSET: Final = object()
HIDDEN: Final = "hidden"


T = TypeVar("T")


def per_class(function: Callable[[type], T]) -> Callable[[type], T]:
    """Have a function of a class work out each result once."""
    return cast("Callable[[type], T]", cache(function))


def is_recorded(module: str) -> bool:
    """Return whether a record may hold what a module defines."""
    return module in PACKAGES or module.startswith(tuple(f"{name}." for name in PACKAGES))


@cache
def modules() -> tuple[types.ModuleType, ...]:
    """Import and return the modules whose classes a record may hold: to read one."""
    import pkgutil  # noqa: PLC0415 - few records are ever read

    found = []
    for name in PACKAGES:
        module = importlib.import_module(name)
        found.append(module)
        inner = pkgutil.walk_packages(getattr(module, "__path__", ()), f"{name}.")
        found += [importlib.import_module(each.name) for each in inner]
    return tuple(found)


@cache
def classes() -> Mapping[str, type]:
    """Return the classes of the project by ``module:qualified name``."""
    return {
        class_name(each): each
        for module in modules()
        for each in _own_classes(module, module.__name__)
    }


@per_class
def is_named(kind: type) -> bool:
    """Return whether a record may hold instances of a class.

    This is whether :func:`classes` has it, found without importing what is not used.
    """
    module = kind.__module__
    return is_recorded(module) and kind in _own_classes(sys.modules[module], module)


def _own_classes(holder: object, module: str) -> list[type]:
    own = [each for each in vars(holder).values() if isinstance(each, type)]
    own = [each for each in own if each.__module__ == module]
    return [*own, *(inner for each in own for inner in _nested(each, module))]


def _nested(holder: type, module: str) -> list[type]:
    prefix = f"{holder.__qualname__}."
    inner = [
        each
        for each in vars(holder).values()
        if isinstance(each, type) and each.__module__ == module
    ]
    inner = [each for each in inner if each.__qualname__.startswith(prefix)]
    return [*inner, *(deeper for each in inner for deeper in _nested(each, module))]


def class_name(kind: type) -> str:
    """Return what a record calls a class."""
    return f"{kind.__module__}:{kind.__qualname__}"


@cache
def row_names() -> Mapping[int, str]:
    """Return the names of the values that modules define, by identity.

    Rows of tables are part of the program: a record names them and does not repeat them. Of modules
    that are not loaded when this is called first, nothing can be in a state: the core and its
    conventions import no module of theirs later.
    """
    names: dict[int, str] = {}
    loaded = [sys.modules[name] for name in sorted(filter(is_recorded, sys.modules))]
    for name, value in _rows(loaded).items():
        names.setdefault(id(value), name)
    return names


@cache
def rows() -> Mapping[str, object]:
    """Return the values that modules define, by name: to read a record, and never to write one."""
    return _rows(modules())


def _rows(defining: Iterable[types.ModuleType]) -> dict[str, object]:
    by_name: dict[str, object] = {}
    for module in defining:
        for name, value in vars(module).items():
            if name.startswith("__"):
                continue
            place = f"{module.__name__}:{name}"
            _add_row(by_name, place, value, module.__name__)
            if isinstance(value, dict | types.MappingProxyType):
                for key, one in value.items():
                    _add_row(by_name, f"{place}[{key!r}]", one, module.__name__)
            elif isinstance(value, tuple):
                for number, one in enumerate(value):
                    _add_row(by_name, f"{place}[{number}]", one, module.__name__)
    return by_name


def _add_row(by_name: dict[str, object], place: str, value: object, module: str) -> None:
    kind = type(value)
    is_ours = kind.__module__.startswith("bridge.") and not isinstance(value, Enum | type)
    is_function = isinstance(value, types.FunctionType) and value.__module__ == module
    if is_ours or is_function or kind in (object, types.MappingProxyType):
        by_name[place] = value


@per_class
def field_names(kind: type) -> tuple[str, ...] | None:
    """Return the names of the fields of a class; None for one whose instances differ in them."""
    if issubclass(kind, msgspec.Struct):
        return kind.__struct_fields__
    if is_dataclass(kind) and "__slots__" in vars(kind):
        return tuple(field.name for field in fields(kind))
    slots: list[str] = []
    for base in reversed(kind.__mro__[:-1]):
        own = vars(base).get("__slots__")
        if own is None:
            return None
        slots += (own,) if isinstance(own, str) else own
    return tuple(_mangled(kind, name) for name in slots if name != "__weakref__")


def _mangled(kind: type, name: str) -> str:
    private = name.startswith("__") and not name.endswith("__")
    return f"_{kind.__name__.lstrip('_')}{name}" if private else name


def content(value: object) -> tuple[tuple[str, ...], Sequence[object]]:
    """Return the names and values of an object's fields."""
    kind = type(value)
    names = field_names(kind)
    if names is None:
        return _told(value, open_names(kind))
    try:
        return names, _reader(kind)(value)
    except AttributeError:  # a slot that was not assigned
        return names, [getattr(value, name, UNSET) for name in names]


def _told(value: object, names: tuple[str, ...]) -> tuple[tuple[str, ...], list[object]]:
    """Return names and values of an object without slots.

    Not by ``vars``: an object whose ``__dict__`` was asked for once is slower ever after (CPython
    3.11 and 3.12), and the core is a tenth of that slower.
    """
    held = [getattr(value, name, UNSET) for name in names]
    if UNSET not in held:
        return names, held
    pairs = [(name, one) for name, one in zip(names, held, strict=True) if one is not UNSET]
    return tuple(name for name, _ in pairs), [one for _, one in pairs]


STORE_ATTR: Final = opcode.opmap["STORE_ATTR"]
EXTENDED_ARG: Final = opcode.opmap["EXTENDED_ARG"]


@per_class
def open_names(kind: type) -> tuple[str, ...]:
    """Return every name that instances of a class without slots may have a value of.

    These are the names that the methods of the class assign. Every simulated life checks that no
    object has another one. Only classes that a state has are looked at.
    """
    names: set[str] = set()
    for base in kind.__mro__[:-1]:
        names.update(_assigned_within(base))
        names.update(vars(base).get("__slots__", ()))
    known = {name: one for base in reversed(kind.__mro__) for name, one in vars(base).items()}
    computed = (types.FunctionType, property, classmethod, staticmethod)
    return tuple(
        sorted(
            name
            for name in names - DERIVED.get(class_name(kind), frozenset())
            if not name.startswith("__") and not isinstance(known.get(name), computed)
        )
    )


# Fields that follow from what a core is composed of: each version has its own.
DERIVED: Final[Mapping[str, frozenset[str]]] = {
    "bridge.core.router:Router": frozenset({"_interests", "_targets", "_handled", "_by_time"})
}


def _assigned_within(kind: type) -> frozenset[str]:
    return frozenset(name for one in vars(kind).values() for name in _stores(_code_of(one)))


def _code_of(value: object) -> types.CodeType | None:
    """Return the code of a function, a property, or a method of a class."""
    value = getattr(value, "fget", None) or getattr(value, "__func__", None) or value
    return value.__code__ if isinstance(value, types.FunctionType) else None


def _stores(code: types.CodeType | None) -> Iterator[str]:
    """Yield the names of attributes that a function assigns.

    Of the instructions, two bytes each, only the assignments are looked at: ``dis`` takes a quarter
    of a second for the whole program. A copy is asked: a code keeps the instructions it was asked
    for beside its own.
    """
    if code is None:
        return
    said, at = code.replace().co_code, -1
    while (at := said.find(STORE_ATTR, at + 1)) >= 0:
        if at % 2 == 0:
            number, before = said[at + 1], at - 2
            for shift in itertools.count(8, 8):
                if said[before] != EXTENDED_ARG:
                    break
                number, before = number | said[before + 1] << shift, before - 2
            yield code.co_names[number]
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            yield from _stores(inner)


@per_class
def _reader(kind: type) -> Callable[[object], Sequence[object]]:
    """Return what reads all fields of an object."""
    names = field_names(kind) or ()
    if len(names) > 1:
        return operator.attrgetter(*names)
    return lambda value: [getattr(value, name) for name in names]


@per_class
def is_value(kind: type) -> bool:
    """Return whether instances of a class never change, with all they hold, by its annotations."""
    if kind in (*SCALARS, int, datetime, timedelta) or issubclass(kind, Enum):
        return True
    if issubclass(kind, Secret):
        return True
    if not _is_frozen(kind):
        return False
    try:
        hints = get_type_hints(kind)
    except (NameError, TypeError):
        return False
    names = field_names(kind)
    return names is not None and all(_never_changes(hints[name], kind) for name in names)


def _is_frozen(kind: type) -> bool:
    if issubclass(kind, msgspec.Struct):
        return bool(kind.__struct_config__.frozen)
    parameters = getattr(kind, "__dataclass_params__", None)
    return parameters is not None and bool(parameters.frozen)


def _never_changes(hint: Any, within: type) -> bool:
    origin = get_origin(hint)
    if origin in (tuple, frozenset, Union, types.UnionType):
        return all(_never_changes(one, within) for one in get_args(hint) if one is not Ellipsis)
    if origin is not None and getattr(origin, "__name__", "") == "Literal":
        return True
    return isinstance(hint, type) and hint is not within and is_value(hint)


# -- to the plain form ---------------------------------------------------------------------------

Encode = Callable[[Any], Plain]


def plain(value: object, encode: Encode | None = None) -> Plain:
    """Return the plain form of a value.

    Args:
        value: An event, an effect, settings, or a part of one.
        encode: Used for what the value holds; None: this function.

    Raises:
        RecordError: A class in it cannot be written.
    """
    kind = type(value)
    if kind is str or kind is float or kind is bool or value is None or kind is bytes:
        return value
    if kind is int:
        number = cast("int", value)
        return number if -MAX_INT <= number < MAX_INT else ["i", str(number)]
    return _writer(kind)(value, encode or plain)


Write = Callable[[Any, Encode], Plain]


@per_class
def _writer(kind: type) -> Write:
    """Return what makes the plain form of instances of a class.

    Raises:
        RecordError: There is none.
    """
    if kind in WRITERS:
        return WRITERS[kind]
    if issubclass(kind, Enum):
        return lambda value, _encode: ["e", class_name(kind), value.name]
    if kind.__name__ in MAPPINGS and issubclass(kind, Mapping):
        return _unless_row(_write_mapping)
    if kind is Secret:
        return lambda _value, _encode: ["S"]
    if issubclass(kind, type):
        return lambda value, _encode: ["T", class_name(value)]
    if issubclass(kind, BaseException):
        return _write_error
    if issubclass(kind, str | int) and kind.__module__.startswith("bridge."):
        base = kind.__mro__[1]
        return lambda value, _encode: ["c", class_name(kind), base(value)]
    if is_named(kind):
        return _unless_row(_fields_writer(kind))
    return _unless_row(_refuse)


def _unless_row(write: Write) -> Write:
    """Return what names a row of a table and writes anything else."""
    names = row_names()

    def written(value: Any, encode: Encode) -> Plain:
        row = names.get(id(value))
        return write(value, encode) if row is None else ["k", row]

    return written


def _fields_writer(kind: type) -> Write:
    name, names = class_name(kind), field_names(kind)
    if names is None:
        return _write_open
    read, shared = _reader(kind), list(names)

    def written(value: Any, encode: Encode) -> Plain:
        try:
            return ["v", name, shared, *map(encode, read(value))]
        except AttributeError:  # a slot that was not assigned
            return _write_open(value, encode)

    return written


def _write_open(value: Any, encode: Encode) -> Plain:
    names, held = content(value)
    said = (["u"] if each is UNSET else encode(each) for each in held)
    return ["v", class_name(type(value)), list(names), *said]


def _write_mapping(value: Any, encode: Encode) -> Plain:
    pairs = [[encode(key), encode(one)] for key, one in value.items()]
    return ["m", type(value).__name__, *pairs]


def _write_error(error: Any, encode: Encode) -> Plain:
    kind = type(error)
    if not is_named(kind):
        # Its text may hold anything; what the core sees of it is its type and its text.
        while kind.__module__ != "builtins":
            kind = kind.__mro__[1]
        return ["x", kind.__name__, ["t", str(error)], ["m", "dict"]]
    return ["x", class_name(kind), encode(error.args), encode(vars(error))]


def _refuse(value: Any, _encode: Encode) -> Plain:
    raise RecordError(f"a record cannot hold {class_name(type(value))}")


def _write_bytes(value: Any, _encode: Encode) -> Plain:
    return ["B", bytes(value)]


WRITERS: Final[Mapping[type, Write]] = {
    tuple: lambda value, encode: ["t", *map(encode, value)],
    list: lambda value, encode: ["l", *map(encode, value)],
    datetime: lambda value, _encode: ["d", value.isoformat()],
    timedelta: lambda value, _encode: ["D", value.days, value.seconds, value.microseconds],
    frozenset: lambda value, encode: ["f", *sorted(map(encode, value), key=repr)],
    set: lambda value, encode: ["s", *sorted(map(encode, value), key=repr)],
    deque: lambda value, encode: ["q", value.maxlen, *map(encode, value)],
    bytearray: _write_bytes,
    memoryview: _write_bytes,
    itertools.count: lambda value, _encode: ["n", int(repr(value)[6:-1])],
}


# -- the outward form ----------------------------------------------------------------------------


@cache
def _usual(name: str) -> Mapping[str, Plain]:
    """Return the plain form of the defaults of a class's fields, by its name in a record."""
    kind = classes().get(name)
    if kind is None or field_names(kind) is None:
        return {}
    if issubclass(kind, msgspec.Struct):
        found = {
            each.name: each.default_factory if each.default is msgspec.NODEFAULT else each.default
            for each in msgspec.structs.fields(kind)
            if not each.required
        }
    elif is_dataclass(kind):
        found = {
            each.name: each.default_factory if each.default is MISSING else each.default
            for each in fields(kind)
            if each.default is not MISSING or each.default_factory is not MISSING
        }
    else:
        return {}
    return {name: plain(one() if callable(one) else one) for name, one in found.items()}


def outward(said: Plain) -> Plain:
    """Return a plain form that is the same in versions that do the same.

    Classes have their names without modules, in which they may be moved, and a field with its
    default is left out: a version that has no such field does the same.
    """
    if type(said) is not list or not said:
        return said
    kind, *held = said
    if kind == "v":
        name, names, *values = held
        usual = _usual(name)
        pairs = zip(names, values, strict=True)
        told = [[each, outward(one)] for each, one in pairs if usual.get(each, UNSET) != one]
        return [_short(name), *told]
    if kind == "m":
        return [kind, held[0], *([outward(key), outward(one)] for key, one in held[1:])]
    if kind in ("e", "c", "k", "T", "x"):
        return [kind, _short(held[0]), *map(outward, held[1:])]
    return [kind, *map(outward, held)]


def _short(name: str) -> str:
    return name.partition(":")[2] or name


# -- from the plain form -------------------------------------------------------------------------


def value_of(said: Plain) -> Any:
    """Return the value of a plain form.

    Raises:
        RecordError: It is none.
    """
    if type(said) is not list:
        if type(said) in SCALARS or type(said) is int:
            return said
        raise RecordError(f"a record does not hold {type(said).__name__}")
    try:
        return DECODERS[said[0]](*said[1:])
    except RecordError:
        raise
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise RecordError(f"{str(said)[:80]} is no value") from error


def known_class(name: str) -> type:
    """Return a class of the project by its name in a record.

    Raises:
        RecordError: This version has none of this name.
    """
    found = classes().get(name)
    if found is None:
        raise RecordError(f"this version has no {name}")
    return found


def row_of(name: str) -> object:
    """Return a row of a table by its name in a record.

    Raises:
        RecordError: This version has none of this name.
    """
    try:
        return rows()[name]
    except KeyError:
        raise RecordError(f"this version has no {name}") from None


def set_fields(value: object, names: list[str], held: list[object]) -> None:
    """Set fields of an object, those of a class that cannot be changed too."""
    allowed = field_names(type(value))
    for name, one in zip(names, held, strict=True):
        if one is UNSET or (allowed is not None and name not in allowed):
            continue  # it has no such field any more
        if isinstance(value, msgspec.Struct):
            msgspec.structs.force_setattr(value, name, one)
        else:
            object.__setattr__(value, name, one)


def new(kind: type, names: list[str], held: list[object]) -> object:
    """Return an instance of a class without calling it; fields that are not told are the default.

    Raises:
        RecordError: A field without a default is missing.
    """
    if issubclass(kind, msgspec.Struct):
        known = kind.__struct_fields__
        return kind(**{name: one for name, one in zip(names, held, strict=True) if name in known})
    value = object.__new__(kind)
    if is_dataclass(kind):
        told = dict(zip(names, held, strict=True))
        for field in fields(kind):
            if field.name not in told:
                set_fields(value, [field.name], [_default(field, kind)])
    set_fields(value, names, held)
    return value


def _default(field: Any, kind: type) -> object:
    if field.default is not MISSING:
        return field.default
    if field.default_factory is not MISSING:
        return field.default_factory()
    raise RecordError(f"the record tells no {field.name} of {class_name(kind)}")


def _read_value(name: str, names: list[str], *held: Plain) -> object:
    return new(known_class(name), names, [value_of(one) for one in held])


def _read_error(name: str, args: Plain, said: Plain) -> BaseException:
    kind = classes().get(name) or vars(builtins).get(name)
    if not (isinstance(kind, type) and issubclass(kind, BaseException)):
        raise RecordError(f"this version has no error {name}")
    if not issubclass(kind, Exception):
        raise RecordError(f"{name} is no error of a component")
    error = cast("BaseException", kind.__new__(kind))
    error.args = value_of(args)
    vars(error).update(value_of(said))
    return error


def _read_type(name: str) -> type:
    if name.startswith("builtins:"):
        kind = vars(builtins).get(name.partition(":")[2])
        if isinstance(kind, type):
            return kind
    return known_class(name)


def _read_mapping(name: str, *pairs: Plain) -> object:
    return MAPPINGS[name]({value_of(key): value_of(one) for key, one in pairs})


def _read_named(name: str, value: Plain) -> object:
    kind = known_class(name)
    if not issubclass(kind, str | int):
        raise RecordError(f"{name} is no text and no number")
    return kind(value)


DECODERS: Final[Mapping[str, Callable[..., Any]]] = {
    "i": int,
    "k": row_of,
    "t": lambda *held: tuple(map(value_of, held)),
    "d": datetime.fromisoformat,
    "D": timedelta,
    "e": lambda name, member: known_class(name)[member],  # type: ignore[index]
    "f": lambda *held: frozenset(map(value_of, held)),
    "s": lambda *held: set(map(value_of, held)),
    "m": _read_mapping,
    "l": lambda *held: list(map(value_of, held)),
    "q": lambda most, *held: deque(map(value_of, held), most),
    "B": bytearray,
    "n": itertools.count,
    "S": lambda: Secret(HIDDEN),
    "T": _read_type,
    "x": _read_error,
    "v": _read_value,
    "c": _read_named,
    "u": lambda: UNSET,
}
