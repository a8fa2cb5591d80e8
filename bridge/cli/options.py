"""Parsing of arguments, and options generated from the fields of a dataclass."""

import argparse
import inspect
from dataclasses import MISSING, fields
from typing import Any

MAX_CHARGERS = 10_000
MAX_PORT = 65535
# Where a name below ``Attributes:`` begins in a docstring without its indentation.
ATTRIBUTE_INDENT = 4
_PREFIX = "field_"


def count(text: str) -> int:
    """Read a number of chargers."""
    number = int(text) if text.isascii() and text.isdigit() else 0
    if not 1 <= number <= MAX_CHARGERS:
        raise argparse.ArgumentTypeError(f"must be 1 to {MAX_CHARGERS}, not {text!r}")
    return number


def seconds(text: str) -> float:
    """Read a positive number."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number above 0, not {text!r}")
    return number


def endpoint(text: str) -> tuple[str, int]:
    """Read ``HOST:PORT``, with or without ``mqtt://``."""
    from bridge.config.kinds import is_host  # noqa: PLC0415 - only the demo asks for it

    host, _, number = text.removeprefix("mqtt://").rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not is_host(host) or not _is_port(number):
        raise argparse.ArgumentTypeError(f"must be HOST:PORT, e.g. localhost:1883, not {text!r}")
    return host, int(number)


def port(text: str) -> int:
    """Read a port to listen on; 0 asks for a free one."""
    if text != "0" and not _is_port(text):
        raise argparse.ArgumentTypeError(f"must be 0 (a free one) to {MAX_PORT}, not {text!r}")
    return int(text)


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 1 <= int(text) <= MAX_PORT


def add_fields(parser: argparse.ArgumentParser, options: type) -> None:
    """Add one option per field of a dataclass, with its type, default and explanation."""
    explained = _attribute_docs(options.__doc__ or "")
    for field in fields(options):
        default = None if field.default is MISSING else field.default
        parser.add_argument(
            "--" + field.name.replace("_", "-"),
            dest=_PREFIX + field.name,
            default=argparse.SUPPRESS,
            help=_help(explained.get(field.name, ""), default),
            **_option_of(field.type, default),
        )


def given_fields(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the fields that were set on the command line."""
    given = vars(arguments).items()
    return {name.removeprefix(_PREFIX): v for name, v in given if name.startswith(_PREFIX)}


def _help(text: str, default: object) -> str:
    shown = "" if default in (None, (), "") else f" (default {default})"
    return text.replace("``", "").replace("%", "%%") + shown


def _option_of(annotation: object, default: object) -> dict[str, Any]:
    """Choose how an option is read from the type of the field it sets."""
    if isinstance(default, bool):
        return {"action": argparse.BooleanOptionalAction}
    if isinstance(default, tuple):
        return {"type": _listed, "metavar": "LIST"}
    kinds = str(annotation)
    if "bool" in kinds:
        return {"action": argparse.BooleanOptionalAction}
    if "float" in kinds:
        return {"type": float, "metavar": "N"}
    if "int" in kinds:
        return {"type": int, "metavar": "N"}
    return {"metavar": "TEXT"}


def _listed(text: str) -> tuple[str | int, ...]:
    """Read ``1,3`` or ``EH000001,EH000003``."""
    items = (item.strip() for item in text.split(","))
    return tuple(int(item) if item.isdigit() else item for item in items if item)


def _attribute_docs(doc: str) -> dict[str, str]:
    """Read the ``Attributes:`` of a docstring, so that an option is explained in one place."""
    found: dict[str, str] = {}
    name = ""
    # Python takes the indentation away from 3.13 on; before, we do.
    for line in inspect.cleandoc(doc).partition("Attributes:")[2].splitlines():
        indent = len(line) - len(line.lstrip())
        head, colon, rest = line.strip().partition(": ")
        if colon and head.isidentifier() and indent == ATTRIBUTE_INDENT:
            name = head
            found[name] = rest
        elif name and line.strip():
            found[name] += " " + line.strip()
    return found
