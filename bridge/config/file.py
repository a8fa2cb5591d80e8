"""Read YAML as text: sections, lists and scalars, nothing guessed.

Rules:

1. A scalar keeps the text that was written and whether it was quoted. What it means is decided by
   the key it belongs to (:mod:`bridge.config.kinds`), so none of YAML 1.1's surprises (``on``,
   ``017``, ``1:30``, ``+4712…``) can happen.
2. Duplicate keys, anchors, aliases and tags are refused: each makes a file say something else than
   it seems to.
3. A message never repeats text of the file except key names: a password may stand anywhere.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from bridge.adapters.state_files.plain_file import NotText, read_plain, reason, text_of
from bridge.config.kinds import shown

MAX_FILE_BYTES = 256 * 1024
# The deepest key of ours is three levels down. The composer is recursive, so this bounds the stack.
MAX_DEPTH = 6


class Scalar(msgspec.Struct, frozen=True):
    """Text of the file.

    Attributes:
        text: As written, without quotes.
        plain: False when it was quoted or written as a block.
    """

    text: str
    plain: bool = True

    @property
    def is_null(self) -> bool:
        """Return whether the value means "no value"."""
        return self.plain and self.text in _NULLS


_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})


class Section(msgspec.Struct, frozen=True):
    """A mapping; keys in the order of the file."""

    entries: dict[str, Any]


class Sequence(msgspec.Struct, frozen=True):
    """A list."""

    items: tuple[Any, ...]


class InvalidNode(msgspec.Struct, frozen=True):
    """Something that is not allowed here and was reported."""


class Document(msgspec.Struct, frozen=True):
    """The content of a file.

    Attributes:
        root: The outermost section.
        problems: What is wrong with its form, a sentence each, starting with a path or file name.
        is_read: False when it could not be read at all, so that nothing can be said of its keys.
    """

    root: Section
    problems: tuple[str, ...]
    is_read: bool = True


class _TooDeep(Exception):
    """Leaves this module as a problem, never as an error."""


class _Composer:
    """Builds the tree from parser events, collecting what is wrong on the way."""

    def __init__(self, events: Iterator[Any]) -> None:
        self.events = events
        self.problems: list[str] = []

    def node(self, event: Any, path: str, depth: int) -> Any:
        """Build the node that begins with an event."""
        if depth > MAX_DEPTH:
            raise _TooDeep
        if isinstance(event, yaml.AliasEvent):
            self.problems.append(f"{path}: aliases are not supported; write the value again")
            return InvalidNode()
        if event.anchor is not None:
            self.problems.append(
                f"{path}: anchors are not supported; quote a text that begins with &"
            )
        if event.tag is not None:
            self.problems.append(f"{path}: tags are not supported; quote a text that begins with !")
        match event:
            case yaml.MappingStartEvent():
                return self._section(path, depth)
            case yaml.SequenceStartEvent():
                return self._sequence(path, depth)
            case _:
                return Scalar(event.value, plain=event.style is None)

    def _section(self, path: str, depth: int) -> Section:
        entries: dict[str, Any] = {}
        lines: dict[str, int] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            line = event.start_mark.line + 1
            key = self.node(event, f"line {line}", depth + 1)
            name = key.text if isinstance(key, Scalar) else "?"
            inner = f"{path}.{_spelled(name)}" if path != "file" else _spelled(name)
            value = self.node(next(self.events), inner, depth + 1)
            if not isinstance(key, Scalar):
                self.problems.append(f"{path}: line {line}: a key must be a word")
            elif name in entries:
                self.problems.append(f"{inner}: given twice, in lines {lines[name]} and {line}")
            else:
                entries[name], lines[name] = value, line
        return Section(entries)

    def _sequence(self, path: str, depth: int) -> Sequence:
        items: list[Any] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            items.append(self.node(event, f"{path}[{len(items)}]", depth + 1))
        return Sequence(tuple(items))


def _spelled(name: str) -> str:
    """Return a key's name as a part of a path, quoted when it is not a plain word."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]{1,40}", name, re.ASCII) else shown(name)


def read_file(path: Path) -> Document:
    """Read a configuration file; whatever is wrong with it becomes a problem."""
    try:
        raw = read_plain(path, MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        return _unreadable(f"{path}: there is no such file; `charger-bridge setup` writes one")
    except (OSError, ValueError) as exc:
        why = reason(exc) if isinstance(exc, OSError) else "not a usable path"
        return _unreadable(f"{path}: cannot be read: {why}")
    if len(raw) > MAX_FILE_BYTES:
        return _unreadable(f"{path}: larger than {MAX_FILE_BYTES // 1024} KiB")
    try:
        text = text_of(raw)
    except NotText as exc:
        return _unreadable(f"{path}: {exc}")
    return read_text(text, name=str(path))


def read_text(text: str, *, name: str) -> Document:
    """Read configuration text.

    Args:
        text: YAML.
        name: What messages call it, mostly its path.
    """
    composer = _Composer(iter(()))
    try:
        composer = _Composer(yaml.parse(text, Loader=yaml.SafeLoader))
        root = _root(composer, name)
    except _TooDeep:
        return _unreadable(f"{name}: nested deeper than any key")
    except (yaml.YAMLError, ValueError, RecursionError) as exc:
        return Document(Section({}), (*composer.problems, f"{name}: {_syntax(exc)}"), False)
    if isinstance(root, Scalar) and root.is_null:
        root = Section({})
    if not isinstance(root, Section):
        return _unreadable(f"{name}: must hold sections such as easee: and mqtt:")
    return Document(root, tuple(composer.problems))


def read_list(text: str) -> tuple[str, ...] | None:
    """Read a YAML list of scalars written in one line; None when it is something else."""
    document = read_text(f"list: {text}", name="list")
    found = document.root.entries.get("list")
    if document.problems or not isinstance(found, Sequence):
        return None
    if not all(isinstance(item, Scalar) for item in found.items):
        return None
    return tuple(item.text for item in found.items)


def _root(composer: _Composer, name: str) -> Any:
    """Return the single document of the stream."""
    events = composer.events
    next(events)  # StreamStart
    if isinstance(next(events), yaml.StreamEndEvent):
        return Section({})
    root = composer.node(next(events), "file", 0)
    next(events)  # DocumentEnd
    if not isinstance(next(events), yaml.StreamEndEvent):
        composer.problems.append(f"{name}: holds more than one document; remove the second ---")
    return root


def _unreadable(problem: str) -> Document:
    return Document(Section({}), (problem,), is_read=False)


# How PyYAML's texts begin, and what to say instead; the first match counts.
_SYNTAX: Final = (
    ("found character '\\t'", "a tab character; YAML allows only spaces here"),
    ("found character", "a value begins with a special character; put it in quotes"),
    (
        "mapping values are not allowed",
        "an unexpected colon; check the indentation or quote the value",
    ),
    ("could not find expected ':'", "a key without a colon; check this line and the one before"),
    ("expected <block end>", "the indentation differs from the lines before"),
    ("expected ',' or", "a bracket or brace is not closed, or a comma is missing"),
    ("expected the node content", "a value is missing"),
    ("found undefined tag handle", "quote a text that begins with !"),
    ("found unknown escape character", "a backslash in double quotes; use single quotes"),
    ("found unexpected end of stream", "a quote is not closed"),
)


def _syntax(exc: Exception) -> str:
    """Return the position of a YAML error, without the file's content."""
    problem = str(getattr(exc, "problem", None) or getattr(exc, "reason", None) or "not readable")
    # PyYAML quotes what it found, and that may be a piece of a password.
    quoteless = re.sub(r"'[^']*'|\"[^\"]*\"", "…", problem)
    words = next((words for begin, words in _SYNTAX if problem.startswith(begin)), quoteless)
    mark = getattr(exc, "problem_mark", None)
    where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    return f"not valid YAML{where}: {words}"
