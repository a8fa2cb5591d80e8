"""Loads settings from a YAML file and the environment, or returns all problems.

Rules:

1. Precedence is environment, file, default. Every key of :mod:`bridge.config.keys` can be set in
   both places, except secrets, which the file only points to.
2. A problem is one sentence that starts with the path of its key. Nothing stops at the first one.
3. No message holds a secret. Values are shown for keys that are not secret, short and escaped.
"""

import os
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Final

from bridge.adapters.state_files.plain_file import NotText, as_meant, open_plain, reason, text_of
from bridge.config.file import InvalidNode, Scalar, Section, Sequence, read_file, read_list
from bridge.config.keys import BY_PATH, BY_VARIABLE, KEYS, PREFIX, REQUIRED, SECTIONS, Key
from bridge.config.kinds import SWITCH, SWITCH_WORDS, InvalidValue, shown
from bridge.config.rules import ADVICE, NOT_READ, RULES, shown_path
from bridge.errors import ConfigError
from bridge.settings import Loaded, Secret, Settings, TlsSettings

MAX_SECRET_BYTES = 4096
MAX_NAME_LENGTH = 120
MAX_HINTS = 50


def load(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Read the configuration.

    Args:
        path: The YAML file, or None for the environment alone.
        environ: The environment.

    Raises:
        ConfigError: It cannot be used; holds every problem.
    """
    return load_with_warnings(path, environ).settings


def load_with_warnings(
    path: Path | None, environ: Mapping[str, str], *, secrets: bool = True
) -> Loaded:
    """Read the configuration and say what looks unwise about it.

    Args:
        path: The YAML file, or None for the environment alone.
        environ: The environment.
        secrets: Read them. Whoever connects to nobody works without: their files may belong to
            another user or another machine.

    Raises:
        ConfigError: It cannot be used; holds every problem.
    """
    loader = _Loader(environ, path.parent if path is not None else Path())
    if path is not None:
        document = read_file(path)
        loader.problems.extend(document.problems)
        if not document.is_read:
            raise ConfigError(tuple(loader.problems))
        loader.take_section("", document.root)
    written = dict(loader.values)
    loader.take_environment()
    if secrets:
        loader.take_secrets()
    else:
        loader.pass_over_secrets()
    loader.check()
    if loader.problems:
        raise ConfigError(tuple(loader.problems))
    overridden = tuple(path for path in written if written[path] != loader.values[path])
    return Loaded(_settings(loader.values), tuple(loader.warnings), overridden)


class _Loader:
    """Values, problems and warnings while they are collected."""

    def __init__(self, environ: Mapping[str, str], folder: Path) -> None:
        self.environ = environ
        self.folder = folder
        self.values: dict[str, Any] = {}
        self.problems: list[str] = []
        self.warnings: list[str] = []
        self._broken: set[str] = set()

    def get(self, path: str) -> Any:
        """Return a value or its default."""
        return self.values.get(path, BY_PATH[path].default)

    def refuse(self, path: str, sentence: str, origin: str = "") -> None:
        """Record a problem of one key."""
        self.problems.append(f"{path}: {sentence}{origin}")
        self._broken.add(path)

    def is_sound(self, *paths: str) -> bool:
        """Return whether no problem was found with these keys so far."""
        return self._broken.isdisjoint(paths)

    # -- the file ---------------------------------------------------------------------------

    def take_section(self, prefix: str, section: Section) -> None:
        """Read every key of a section of the file."""
        for name, node in section.entries.items():
            path = f"{prefix}.{name}" if prefix else name
            if path in SECTIONS:
                self._take_subsection(path, node)
            elif path not in BY_PATH:
                self._unknown(path, node)
            elif BY_PATH[path].secret:
                self._take_inline_secret(BY_PATH[path], node)
            elif BY_PATH[path].kind.pairs:
                self._take_mapping(BY_PATH[path], node)
            else:
                self._take_node(BY_PATH[path], node)

    def _take_subsection(self, path: str, node: Any) -> None:
        match node:
            case Section():
                self.take_section(path, node)
            case Scalar(is_null=True) | InvalidNode():
                pass
            case Sequence():
                self.refuse(path, f"{_NO_SECTION}, without the dashes of a list")
            case Scalar(text=text) if _KEY_AND_COLON.match(text):
                self.refuse(path, f"{_NO_SECTION}; a colon needs a space behind it")
            case _:
                self.refuse(path, _NO_SECTION)

    def _take_inline_secret(self, key: Key, node: Any) -> None:
        if not (isinstance(node, Scalar) and node.is_null):
            self.refuse(
                key.path,
                f"a secret is not allowed in this file; put it into a file named by {key.path}_file"
                f" or into the environment variable {key.variable}",
            )

    def _take_node(self, key: Key, node: Any) -> None:
        match node:
            case Scalar(is_null=True) if key.kind.many:
                self.values[key.path] = ()
            case Scalar(is_null=True) if key.nullable:
                self.values[key.path] = None
            case Scalar(is_null=True):
                self.refuse(key.path, f"needs a value ({key.kind.text})")
            case Scalar() if key.kind.many:
                example = ", ".join(key.kind.example)
                self.refuse(key.path, f"must be a {key.kind.text}, e.g. [{example}]")
            case Scalar(plain=False) if key.kind.bare:
                self._take(key, (node.text,), "")  # what is wrong besides comes first
                if self.is_sound(key.path):
                    self.refuse(key.path, f"must be without quotes ({key.kind.text})")
            case Scalar():
                self._take_scalar(key, node)
            case Sequence(items=items) if key.kind.many:
                self._take_items(key, items)
            case InvalidNode():
                self._broken.add(key.path)
            case _:
                self.refuse(key.path, f"must be one value ({key.kind.text})")

    def _take_scalar(self, key: Key, node: Scalar) -> None:
        self._take(key, (node.text,), "")
        switch = node.plain and node.text.lower() in _BOOLEANS
        if switch and not key.kind.bare and self.is_sound(key.path):
            self.refuse(key.path, f"must be {key.kind.text}; quote {node.text} if it is meant so")

    def _take_items(self, key: Key, items: tuple[Any, ...]) -> None:
        if all(map(_is_text, items)):
            self._take(key, tuple(item.text for item in items), "")
        else:
            self.refuse(key.path, f"must be a flat {key.kind.text} without empty items")

    def _take_mapping(self, key: Key, node: Any) -> None:
        match node:
            case Section(entries=entries) if all(map(_is_text, entries.values())):
                self._take(key, tuple(f"{name}={one.text}" for name, one in entries.items()), "")
            case Section():
                self.refuse(key.path, f"must be a flat {key.kind.text} without empty ones")
            case Scalar(is_null=True):
                self.values[key.path] = ()
            case InvalidNode():
                self._broken.add(key.path)
            case _:
                serial, _, name = key.kind.example[0].partition("=")
                self.refuse(key.path, f"must be a {key.kind.text}, e.g. {{{serial}: {name}}}")

    def _unknown(self, path: str, node: Any) -> None:
        names = SECTIONS if isinstance(node, Section) else _IN_THE_FILE
        self.refuse(_printable(path), f"unknown key{self._nearest(path, names)}")

    def _nearest(self, name: str, names: Iterable[str]) -> str:
        from difflib import get_close_matches  # noqa: PLC0415 - only for mistakes

        # Searching is slow, and a file with more mistakes than this is another program's.
        near = get_close_matches(name, names, n=1) if len(self.problems) < MAX_HINTS else []
        return f"; did you mean {near[0]}?" if near else ""

    # -- the environment --------------------------------------------------------------------

    def take_environment(self) -> None:
        """Read every variable of the program; unknown ones are problems."""
        for name in sorted(name for name in self.environ if name.startswith(PREFIX)):
            key = BY_VARIABLE.get(name)
            if key is None:
                self.refuse(_printable(name), f"unknown variable{self._nearest(name, BY_VARIABLE)}")
            elif not key.secret:
                self._take_variable(key, as_meant(self.environ[name]))

    def _take_variable(self, key: Key, text: str) -> None:
        origin = f" (from {key.variable})"
        if key.kind.many:
            listed = read_list(text) if text.lstrip().startswith("[") else _split(text)
            if listed is None:
                example = ",".join(key.kind.example)
                self.refuse(key.path, f"must be a {key.kind.text}, e.g. {example}", origin)
            else:
                self._take(key, listed, origin)
        elif not text and key.nullable:
            self.values[key.path] = None
        elif key.kind is SWITCH:
            self._take(key, (SWITCH_WORDS.get(text, text),), origin)
        else:
            self._take(key, (text,), origin)

    def _take(self, key: Key, texts: tuple[str, ...], origin: str) -> None:
        """Read the texts of one key, from wherever they came."""
        read: list[Any] = []
        for text in texts:
            try:
                value = key.kind.read(text)
            except InvalidValue as exc:
                self.refuse(key.path, str(exc), origin)
                continue
            if value in read:
                self.refuse(key.path, f"names {shown(text)} twice", origin)
            read.append(value)
        if not self.is_sound(key.path):
            return
        if key.kind.many:
            self.values[key.path] = tuple(read)
        elif key.kind.is_file:
            folder = Path() if origin else self.folder
            self.values[key.path] = str(folder / str(read[0]))
        else:
            self.values[key.path] = read[0]

    # -- secrets ----------------------------------------------------------------------------

    def take_secrets(self) -> None:
        """Read each secret from the environment or from its file."""
        for key in KEYS:
            if key.secret:
                self._take_secret(key, BY_PATH[f"{key.path}_file"])

    def pass_over_secrets(self) -> None:
        """Treat each secret that is required or has a file as present."""
        for key in (key for key in KEYS if key.secret):
            named = self.environ.get(key.variable) or self.get(f"{key.path}_file")
            if named or key.default is REQUIRED:
                self.values[key.path] = Secret(NOT_READ)

    def _take_secret(self, key: Key, file_key: Key) -> None:
        direct = self.environ.get(key.variable)
        if direct and self.environ.get(file_key.variable):
            self.refuse(key.path, f"set by {key.variable} and {file_key.variable}; keep one")
        elif direct:
            self._keep_secret(key, key.path, direct)
        elif path := self.get(file_key.path):
            self._take_secret_file(key, file_key, Path(path))

    def _take_secret_file(self, key: Key, file_key: Key, path: Path) -> None:
        origin = f" (from {file_key.variable})" if file_key.variable in self.environ else ""
        try:
            with os.fdopen(open_plain(path), "rb") as stream:
                mode = os.fstat(stream.fileno()).st_mode
                raw = stream.read(MAX_SECRET_BYTES + 1)
        except (OSError, ValueError) as exc:
            why = reason(exc) if isinstance(exc, OSError) else "not a usable path"
            self.refuse(file_key.path, f"cannot read {shown_path(path)}: {why}", origin)
            return
        try:
            text = text_of(raw)
        except NotText as exc:
            self.refuse(file_key.path, f"{shown_path(path)} {exc}", origin)
            return
        if mode & stat.S_IROTH:
            self.warnings.append(
                f"{file_key.path}: every user of this machine can read {shown_path(path)};"
                " chmod 0400 it unless a container keeps others out"
            )
        self._keep_secret(key, file_key.path, text)

    def _keep_secret(self, key: Key, path: str, written: str) -> None:
        text = as_meant(written)
        if len(text.encode("utf-8", "surrogatepass")) > MAX_SECRET_BYTES:
            self.refuse(path, f"the secret is longer than {MAX_SECRET_BYTES} bytes")
            return
        try:
            key.kind.read(text)
        except InvalidValue as exc:
            self.refuse(path, f"the secret {exc}")
            return
        if text != text.strip():
            self.warnings.append(
                f"{path}: the secret begins or ends with a blank; remove it unless it is meant"
            )
        self.values[key.path] = Secret(text)

    # -- what belongs together --------------------------------------------------------------

    def check(self) -> None:
        """Check what is required and what several keys mean together."""
        for key in KEYS:
            if key.default is REQUIRED and key.path not in self.values:
                self._missing(key)
        for paths, rule in RULES:
            if self.is_sound(*paths):
                self.problems.extend(rule(self.get))
        for advice in ADVICE:
            self.warnings.extend(advice(self.get))

    def _missing(self, key: Key) -> None:
        if not self.is_sound(key.path, f"{key.path}_file", key.path.rpartition(".")[0]):
            return
        if key.secret:
            ways = f"set {key.path}_file or {key.variable}"
        else:
            ways = f"set it in the file or by {key.variable}"
        self.refuse(key.path, f"required; {ways}")


# A secret has no place there, so it is nothing to have meant.
_IN_THE_FILE: Final = tuple(key.path for key in KEYS if not key.secret)
_BOOLEANS: Final = frozenset({"true", "false", "yes", "no", "on", "off"})
_NO_SECTION: Final = "must be a section with keys of its own"
_KEY_AND_COLON: Final = re.compile(r"\w+:", re.ASCII)


def _is_text(node: object) -> bool:
    return isinstance(node, Scalar) and not node.is_null


def _split(text: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in text.split(",") if item.strip())


def _printable(name: str) -> str:
    return name if name.isprintable() and len(name) <= MAX_NAME_LENGTH else shown(name)


def _settings(values: Mapping[str, Any]) -> Settings:
    """Build the settings from checked values; what is missing takes its default."""

    def given(section: str, known: type) -> dict[str, Any]:
        paths = {field.name: f"{section}.{field.name.rstrip('_')}" for field in fields(known)}
        return {name: values[path] for name, path in paths.items() if path in values}

    sections: dict[str, Any] = {}
    for field in fields(Settings):
        known = field.type
        if not (isinstance(known, type) and is_dataclass(known)):
            if field.name in values:
                sections[field.name] = values[field.name]
            continue
        inner = given(field.name, known)
        if field.name == "mqtt":
            inner["tls"] = TlsSettings(**given("mqtt.tls", TlsSettings))
        sections[field.name] = known(**inner)
    return Settings(**sections)
