"""Names of RFID tags: from the configuration, and from a file of their own.

The file has one tag or published hash a line, with its name behind an equals sign: ``04AABB=Kari``.
Empty lines and lines that begin with ``#`` are left out.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from bridge.adapters.state_files.plain_file import open_plain, reason
from bridge.core.value_format import pseudonymize
from bridge.errors import ConfigError
from bridge.settings import PublishSettings

MAX_FILE_BYTES = 1 << 20
HASHED = "sha256:"


class TagNames:
    """The names of tags.

    Args:
        pairs: Tags or published hashes with names.
        salt: Of this installation, for the hash; empty where it is not known.
    """

    def __init__(self, pairs: Iterable[tuple[str, str]], salt: bytes) -> None:
        self._names: Mapping[str, str] = {_spelled(tag): name for tag, name in pairs}
        self._salt = salt

    def name_of(self, tag: str) -> str:
        """Return the name of a tag, as it is or as its hash; empty where it has none."""
        found = self._names.get(_spelled(tag)) if tag else None
        if found is None and tag and self._salt and not tag.startswith(HASHED):
            found = self._names.get(pseudonymize(tag, self._salt))
        return found or ""


def _spelled(tag: str) -> str:
    return tag.strip().lower()


def tag_pairs(settings: PublishSettings) -> tuple[tuple[str, str], ...]:
    """Return the tags of a configuration and of its file with their names.

    Raises:
        ConfigError: The file cannot be read.
    """
    if settings.tags_file is None:
        return settings.tags
    return (*settings.tags, *_read(Path(settings.tags_file)))


def _read(path: Path) -> Iterable[tuple[str, str]]:
    try:
        with os.fdopen(open_plain(path), "rb") as stream:
            text = stream.read(MAX_FILE_BYTES).decode("utf-8-sig")
    except OSError as error:
        raise ConfigError((f"publish.tags_file: cannot read {path}: {reason(error)}",)) from None
    except ValueError:
        raise ConfigError((f"publish.tags_file: {path} is no UTF-8 text",)) from None
    pairs = []
    for number, line in enumerate(text.splitlines(), 1):
        tag, equals, name = line.partition("=")
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if not (equals and tag.strip() and name.strip()):
            problem = f"publish.tags_file: line {number} of {path} must be TAG=NAME"
            raise ConfigError((problem,))
        pairs.append((tag.strip(), name.strip()))
    return pairs
