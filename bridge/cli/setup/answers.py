"""The answers of the dialogue, checked by the rules of the configuration, and their file.

Rules:

1. An answer is the text of one configuration key. The loader judges it, here as in ``run``: the
   answers are given to it as environment variables, so no file is needed to try them.
2. The file holds the keys that were answered, each with its explanation from the table of keys.
   Secrets are not in it: it names their files.
"""

import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from bridge.config.keys import BY_PATH, KEYS, SECTIONS, Key
from bridge.config.kinds import InvalidValue
from bridge.config.loading import load_with_warnings
from bridge.settings import Loaded, Secret

EASEE_PASSWORD: Final = "easee.password"  # noqa: S105 - the path of a key
MQTT_PASSWORD: Final = "mqtt.password"  # noqa: S105 - the path of a key
# What the systemd unit calls the secrets.
CREDENTIALS: Final = {EASEE_PASSWORD: "easee_password", MQTT_PASSWORD: "mqtt_password"}
CONFIG: Final = "config.yaml"
WIDTH = 80
_PLAIN = re.compile(r"[A-Za-z0-9/][A-Za-z0-9_./@+-]*", re.ASCII)
_NOT_TEXT: Final = frozenset({"true", "false", "yes", "no", "on", "off", "null"})
# Beyond ASCII: what a YAML reader refuses as it is, and takes escaped.
_UNPRINTABLE = re.compile("[\ud800-\udfff\ufffe\uffff\ufeff\u0080-\u009f]")

HEAD = """\
# Configuration of charger-bridge, written by `charger-bridge setup`.
#
# What is not here has its default; docs/configuration.md lists every key.
# After a change: charger-bridge check --config FILE. The passwords are in files
# of their own beside this one."""


@dataclass(frozen=True, slots=True)
class Answers:
    """Answers by the path of their key.

    Attributes:
        texts: As they would stand in the environment, e.g. ``{"mqtt.port": "1883"}``.
        secrets: The two passwords, where they were answered.
    """

    texts: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, Secret] = field(default_factory=dict)

    def get(self, path: str) -> str:
        """Return the text of a key, empty where it was not answered."""
        return self.texts.get(path, "")

    def with_texts(self, texts: Mapping[str, str]) -> "Answers":
        """Return these answers with others on top; an empty text takes the key out."""
        kept = {path: text for path, text in {**self.texts, **texts}.items() if text}
        return replace(self, texts=kept)

    def with_secret(self, path: str, secret: Secret | None) -> "Answers":
        """Return these answers with one password set, or taken out by None."""
        kept = {known: each for known, each in self.secrets.items() if known != path}
        return replace(self, secrets=kept if secret is None else {**kept, path: secret})

    def load(self) -> Loaded:
        """Return the settings that these answers make, and what looks unwise about them.

        Raises:
            ConfigError: They cannot be used.
        """
        environ = {BY_PATH[path].variable: text for path, text in self.texts.items()}
        for path, secret in self.secrets.items():
            environ[BY_PATH[path].variable] = secret.reveal()
        return load_with_warnings(None, environ)

    def render(self, config: Path) -> str:
        """Return the text of the configuration file.

        Args:
            config: Its path; the names of the password files follow from it.
        """
        return "\n".join([HEAD, *_lines(self, config)]) + "\n"


def problem_with(path: str, text: str) -> str | None:
    """Return what is wrong with one answer, or None.

    Args:
        path: Of its key.
        text: The answer; of a list, its items with commas between.
    """
    kind = BY_PATH[path].kind
    try:
        for item in split(text) if kind.many else (text,):
            kind.read(item)
    except InvalidValue as exc:
        return str(exc)
    return None


def secret_file(path: str, config: Path) -> Path:
    """Return the file of a password, as the systemd units have it.

    Args:
        path: Of its key.
        config: The configuration file. Those of several accounts may lie in one folder: beside
            ``home.yaml`` it is ``home_easee_password``, beside ``config.yaml`` ``easee_password``.
    """
    account = "" if config.name == CONFIG else f"{config.stem}_"
    return config.with_name(f"{account}{CREDENTIALS[path]}")


def split(text: str) -> tuple[str, ...]:
    """Return the items of a list that was answered with commas."""
    return tuple(item.strip() for item in text.split(",") if item.strip())


def absolute(text: str) -> str:
    """Return a path that means the same wherever the gateway is started."""
    return str(Path(text).expanduser().absolute())


# -- the file ----------------------------------------------------------------------------------


def _lines(answers: Answers, config: Path) -> Iterator[str]:
    written = _written(answers, config)
    section = ""
    for key in KEYS:
        if key.path not in written:
            continue
        parent, _, name = key.path.rpartition(".")
        if parent != section:
            yield from _section_head(parent, section)
            section = parent
        indent = "  " * (parent.count(".") + 1)
        yield from _comment(key.doc, indent)
        yield f"{indent}{name}: {written[key.path]}"


def _written(answers: Answers, config: Path) -> dict[str, str]:
    """Return the values as YAML, by key; secrets are their files' names."""
    texts = {path: _yaml(BY_PATH[path], text) for path, text in answers.texts.items()}
    return texts | {
        f"{path}_file": _scalar(secret_file(path, config).name) for path in answers.secrets
    }


def _section_head(path: str, previous: str) -> Iterator[str]:
    """Yield the lines that open a section, and the one around it where that is not open."""
    outer = path.partition(".")[0]
    if outer != previous.partition(".")[0]:
        yield ""
        yield from _comment(SECTIONS[outer], "")
        yield f"{outer}:"
    if outer != path:
        yield from _comment(SECTIONS[path], "  ")
        yield f"  {path.rpartition('.')[2]}:"


def _comment(text: str, indent: str) -> list[str]:
    lead = f"{indent}# "
    return textwrap.wrap(
        text, WIDTH, initial_indent=lead, subsequent_indent=lead, break_on_hyphens=False
    )


def _yaml(key: Key, text: str) -> str:
    if key.kind.pairs:
        pairs = (item.partition("=") for item in split(text))
        return f"{{{', '.join(f'{_scalar(one)}: {_scalar(name)}' for one, _, name in pairs)}}}"
    if key.kind.many:
        return f"[{', '.join(map(_scalar, split(text)))}]"
    return text if key.kind.bare else _scalar(text)


def _scalar(text: str) -> str:
    """Write a text so that YAML reads the same text, and no number, switch or comment."""
    if _PLAIN.fullmatch(text) and text.lower() not in _NOT_TEXT:
        return text
    quoted = json.dumps(text, ensure_ascii=False)
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", quoted)
