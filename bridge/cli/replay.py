"""``charger-bridge replay``: runs a record through the core; prints or compares effects."""

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import bridge
from bridge.adapters.state_files import record_files
from bridge.core.changes import Change
from bridge.core.messages import Publish
from bridge.core.value_format import iso_utc, read_utc
from bridge.errors import DecodeError, RecordError
from bridge.recorder import record_file
from bridge.recorder.checking import differences, failing, matches, remark
from bridge.recorder.explanation import explanation, moment_of
from bridge.recorder.replaying import Machine, Record, Step, machine_of, messages, native, replay
from bridge.recorder.values import Plain, plain

DIFFERENT = 1
TEST = '''\
"""Replays a record of charger-bridge {version}, written {written_at}: {reason}."""

from pathlib import Path

from bridge.recorder.checking import problems

RECORD = Path(__file__).with_suffix(".rec")


def test_{name}():
    """The recorded events have the expected outcome, and no component fails."""
    found = problems(
        RECORD.read_bytes(),
        until={until!r},
        expected={expected!r},
        never={never!r},
    )

    assert found == []
'''


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add("file", type=Path, metavar="FILE", help="a record: record-<time>.rec")
    add("--until", metavar="WHEN", help="stop behind this event (its number, or a UTC time)")
    add("--only", metavar="TOPIC", help="print only messages on this topic or topic filter")
    add("--explain", metavar="TOPIC", help="say what led to a topic's messages, or kept them away")
    add("--compare", action="store_true", help="print only events with other effects than recorded")
    add(
        "--as-test",
        type=Path,
        metavar="FILE",
        help="write a pytest file, and the record beside it; nothing is printed of the effects",
    )
    add(
        "--expect",
        action="append",
        default=[],
        metavar="TOPIC=PAYLOAD",
        help="with --as-test: this must be the last payload on the topic",
    )
    add(
        "--never",
        action="append",
        default=[],
        metavar="TOPIC",
        help="with --as-test: nothing may be published on this topic or topic filter",
    )


def read(path: Path) -> tuple[Record, bytes]:
    """Read a record file.

    Raises:
        RecordError: It cannot be used; the message names it.
        OSError: It cannot be read.
    """
    content = record_files.load(path, record_file.MAX_FILE_BYTES)
    try:
        return record_file.read(content), content
    except RecordError as error:
        raise RecordError(f"{path}: {error}") from None


def run(arguments: argparse.Namespace) -> int:
    """Replay a record; return 1 where ``--compare`` finds a difference or a written test fails."""
    record, content = read(arguments.file)
    is_over = _until(arguments.until)
    try:
        if arguments.as_test is not None:
            return _as_test(arguments, record, content, is_over)
        if arguments.explain is not None:
            until = moment_of(arguments.until or "")
            for line in explanation(record, arguments.explain, until=until):
                _say(line)
            return 0
        if arguments.compare:
            return _compare(record, is_over)
        _print(record, is_over, arguments.only)
    except RecordError as error:
        raise RecordError(f"{arguments.file}: {error}") from None
    return 0


Over = Callable[[Step], bool]


def _until(text: str | None) -> Over:
    """Return what tells whether a step is behind the last one.

    Raises:
        RecordError: It is neither a number nor a time.
    """
    if text is None:
        return lambda _step: False
    if text.isascii() and text.isdigit():
        number = int(text)
        return lambda step: step.number > number
    try:
        at: datetime = read_utc(text)
    except DecodeError:
        message = f"--until: must be the number of an event or a UTC time, not {text!r}"
        raise RecordError(message) from None
    return lambda step: step.now.wall > at


def _steps(record: Record, is_over: Over, machine: Machine) -> Iterator[Step]:
    for step in replay(record, machine):
        if is_over(step):
            return
        yield step


def _print(record: Record, is_over: Over, only: str | None) -> None:
    machine = machine_of(record)
    core = machine.core
    conventions = native(record, core)
    if only is None:
        _say(
            f"# charger-bridge {record.version}, {record.reason or 'no reason'},"
            f" written {record.written_at}"
        )
    is_shown = only is None
    for step in _steps(record, is_over, machine):
        if only is None:
            _say(f"{iso_utc(step.now.wall)} #{step.number} {shown(plain(step.event))}")
            for effect in step.effects:
                if not isinstance(effect, Publish | Change):
                    _say(f"  {shown(plain(effect))}")
        for message in messages(step, conventions):
            if only is None:
                _say(f"  {published(message)}")
            elif matches(only, message.topic):
                is_shown = True
                _say(f"{iso_utc(step.now.wall)} #{step.number} {published(message)}")
    if not is_shown:
        _say(f"# nothing is published on {only}")


def _compare(record: Record, is_over: Over) -> int:
    status = 0
    if said := remark(record, bridge.__version__):
        _say(f"# {said}")
    for found in differences(record, bridge.__version__):
        if is_over(found.step):
            break
        status = DIFFERENT
        step = found.step
        _say(f"{iso_utc(step.now.wall)} #{step.number} {type(step.event).__name__}: {found.why}")
    if not status:
        _say(f"the same {'effects' if record.digests else 'number of effects'} as recorded")
    return status


@dataclass(frozen=True, slots=True)
class Expected:
    """What a written test demands.

    Attributes:
        payloads: By topic.
        never: Topics and filters.
    """

    payloads: dict[str, str]
    never: tuple[str, ...]


def _as_test(arguments: argparse.Namespace, record: Record, content: bytes, is_over: Over) -> int:
    """Write a test and the record beside it."""
    expected = _expected(arguments)
    machine = machine_of(record)
    core = machine.core
    conventions, last, until = native(record, core), {}, None
    for step in _steps(record, is_over, machine):
        until = step.number
        for message in messages(step, conventions):
            last[message.topic] = message.payload.decode(errors="replace")
    if arguments.only is not None and not expected.payloads:
        found = {topic: last[topic] for topic in last if matches(arguments.only, topic)}
        if not found and not expected.never:
            raise RecordError(f"nothing is published on {arguments.only}: a test could not fail")
        expected = Expected(found, expected.never)
    path: Path = arguments.as_test
    name = "".join(char if char.isalnum() else "_" for char in path.stem.removeprefix("test_"))
    text = TEST.format(
        version=record.version,
        written_at=record.written_at,
        reason=record.reason,
        name=name.lower() or "record",
        until=until if arguments.until else None,
        expected=expected.payloads,
        never=expected.never,
    )
    path.write_text(text)
    path.with_suffix(".rec").write_bytes(content)
    _say(f"{path}: written, with {path.with_suffix('.rec').name} beside it")
    if core.contained.errors:
        _say(f"it fails until this is mended: these components failed: {failing(core)}")
    return 0


def _expected(arguments: argparse.Namespace) -> Expected:
    """Read what is expected.

    Raises:
        RecordError: One is not ``TOPIC=PAYLOAD``.
    """
    payloads = {}
    for one in arguments.expect:
        topic, equals, payload = one.partition("=")
        if not equals:
            raise RecordError(f"--expect: must be TOPIC=PAYLOAD, not {one!r}")
        payloads[topic] = payload
    return Expected(payloads, tuple(arguments.never))


# -- texts ---------------------------------------------------------------------------------------


def published(message: Publish) -> str:
    """Return a message in one line."""
    payload = message.payload.decode(errors="backslashreplace")
    return f"publish {message.topic} {payload}{' (retained)' if message.retained else ''}"


def shown(said: Plain) -> str:
    """Return a plain value in one line: the name of its class and its fields."""
    if not isinstance(said, list):
        return repr(said)
    kind, held = said[0], said[1:]
    if kind == "v":
        pairs = zip(held[1], held[2:], strict=True)
        fields = ", ".join(f"{name}={shown(one)}" for name, one in pairs)
        return f"{held[0].rpartition(':')[2]}({fields})"
    if kind == "m":
        return "{" + ", ".join(f"{shown(key)}: {shown(one)}" for key, one in held[1:]) + "}"
    if kind in ("t", "l", "f", "s"):
        return "[" + ", ".join(map(shown, held)) + "]"
    if kind == "x":
        return f"{held[0].rpartition(':')[2]}{shown(held[1])}"
    return str(held[0]) if kind in ("d", "k", "i", "T") else f"<{kind} {held}>"


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
