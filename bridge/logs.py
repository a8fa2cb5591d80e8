"""Log pipeline for the program, its libraries and the interpreter.

Rules:

1. No secret gets out. Values are hidden by the name of their key, by what they look like (a bearer
   token, a JWT) and by what they are (every text given to :func:`register_secret`), before
   anything is cut short.
2. A line is one line. Control characters, terminal escapes and bidirectional overrides are
   escaped, texts are cut at :data:`MAX_TEXT_LENGTH`, and a traceback appears at level debug only,
   without the values of local variables: those of a failed login hold the password.
3. Logging never fails its caller: a closed or full standard error loses lines, nothing else.
4. Between :func:`limit_lines` and :func:`end_limit` the log grows by a megabyte an hour at most
   (:mod:`bridge.log_limit`), except at level debug.
"""

import contextlib
import json
import logging
import re
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextvars import ContextVar
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

import structlog
from structlog.tracebacks import ExceptionDictTransformer

from bridge.log_limit import LineLimit
from bridge.settings import LogSettings, Secret, Settings

MAX_TEXT_LENGTH = 256
# Deeper structures than a traceback's are not for logs.
MAX_DEPTH = 6
MAX_ITEMS = 50
HIDDEN = "***"

Fields = MutableMapping[str, Any]

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_ERRORS: Final = frozenset({"error", "critical", "exception"})
# They say at info what is our job to say, and at debug what nobody may see: httpcore prints
# headers, paho prints payloads, websockets prints frames.
# pika tells each failed attempt as an error, with a traceback; why it failed is our job to say.
_CAPPED: Final = {
    "aiohttp": logging.WARNING,
    "amqtt": logging.WARNING,
    # It tells a port that is taken, and another one is used.
    "amqtt.broker": logging.CRITICAL,
    "asyncio": logging.WARNING,
    "httpcore": logging.WARNING,
    "httpx": logging.WARNING,
    "paho": logging.WARNING,
    "pika": logging.CRITICAL,
    "transitions": logging.WARNING,
    "websockets": logging.WARNING,
}


# -- secrets -----------------------------------------------------------------------------------

_HIDDEN_WORDS: Final = frozenset(
    {"password", "passwd", "secret", "token", "tokens", "authorization", "auth", "rfid", "cookie"}
)
_HIDDEN_NAMES: Final = frozenset({"pincode", "apikey", "privatekey", "idtag", "credentials"})
_WORDS: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+")
_SHAPES: Final = r"(?i:bearer)\s+[^\s\"',;]+|eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){0,4}"
# Hiding every "a" would tell more than it hides.
MIN_SECRET_LENGTH = 4
# Two tokens an hour: the last day's worth is still hidden.
MAX_TEMPORARY_SECRETS = 64


class _SecretPatterns:
    """The secrets that must not be written, and the pattern that finds them."""

    def __init__(self) -> None:
        self._lasting: set[str] = set()
        self._passing: deque[str] = deque(maxlen=MAX_TEMPORARY_SECRETS)
        self._lock = threading.Lock()
        self._pattern = re.compile(_SHAPES)

    def add(self, text: str, *, passing: bool) -> None:
        """Hide a text from now on."""
        with self._lock:
            if len(text) < MIN_SECRET_LENGTH or text in self._lasting or text in self._passing:
                return
            if passing:
                self._passing.append(text)
            else:
                self._lasting.add(text)
            spellings = {s for known in (*self._lasting, *self._passing) for s in _spellings(known)}
            longest_first = sorted(spellings, key=len, reverse=True)
            self._pattern = re.compile("|".join((*map(re.escape, longest_first), _SHAPES)))

    def hide(self, text: str) -> str:
        """Replace every secret in a text."""
        return self._pattern.sub(HIDDEN, text)


def _spellings(secret: str) -> set[str]:
    """List how a secret looks inside a URL, JSON or a repr."""
    return {
        secret,
        quote(secret, safe=""),
        json.dumps(secret)[1:-1],
        repr(secret)[1:-1],
        repr(secret.encode("utf-8", "surrogatepass"))[2:-1],
    }


_secret_patterns = _SecretPatterns()


def register_secret(text: str, *, passing: bool = False) -> None:
    """Hide a text in everything that is logged from now on.

    Args:
        text: The secret. Shorter than four characters it is hidden by its key's name only.
        passing: True for what is replaced over time, such as tokens; old ones are forgotten.
    """
    _secret_patterns.add(text, passing=passing)


def register_secrets(settings: Settings) -> None:
    """Hide every secret of a configuration."""
    urls = (settings.amqp.url, settings.amqp.own_url)
    passwords = (settings.easee.password, settings.mqtt.password, settings.store.password)
    for secret in (*passwords, *urls):
        if isinstance(secret, Secret):
            register_secret(secret.reveal())
    for url in urls:
        if isinstance(url, Secret):
            # The user's name is no secret; the password is, also without what is around it.
            with contextlib.suppress(ValueError):
                register_secret(unquote(urlsplit(url.reveal()).password or ""))


def redact(text: str) -> str:
    """Return a text without secrets, for places that are not log lines."""
    return _secret_patterns.hide(text)


def _hides(name: str) -> bool:
    """Return whether a key's name marks its value as a secret.

    ``accessToken`` and ``rfid_tag`` are, ``token_path`` and ``authorization_required`` are not.
    """
    words = [word.lower() for word in _WORDS.findall(name)]
    return bool(words) and (
        words[-1] in _HIDDEN_WORDS or "rfid" in words or "".join(words) in _HIDDEN_NAMES
    )


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT_LENGTH else text[: MAX_TEXT_LENGTH - 1] + "…"


def clean(value: object, depth: int = 0) -> Any:
    """Return a value for the log: secrets hidden, texts truncated, structures bounded."""
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            return _cut(_secret_patterns.hide(value))
        case Mapping() if depth < MAX_DEPTH:
            return clean_fields(value, depth)
        case list() | tuple() | set() | frozenset() | deque() if depth < MAX_DEPTH:
            return [clean(item, depth + 1) for item in list(value)[:MAX_ITEMS]]
        case _:
            return _cut(_secret_patterns.hide(_described(value)))


def clean_fields(fields: Mapping[Any, Any], depth: int = 0) -> dict[str, Any]:
    """Clean named values, hiding those whose name says that they are secret."""
    cleaned: dict[str, Any] = {}
    for key, value in list(fields.items())[: MAX_ITEMS if depth else None]:
        name = key if isinstance(key, str) else str(clean(key, MAX_DEPTH))
        hidden = _hides(name) and not isinstance(value, bool | None)
        cleaned[_cut(_secret_patterns.hide(name))] = HIDDEN if hidden else clean(value, depth + 1)
    return cleaned


def _described(value: object) -> str:
    """Return a value's repr whatever it does."""
    try:
        return str(value) if isinstance(value, BaseException) else repr(value)
    except Exception:  # noqa: BLE001 - rule 3: somebody else's repr must not fail our caller
        return f"<{type(value).__name__}>"


# -- the steps of the pipeline -----------------------------------------------------------------


def summarize_exception(error: BaseException) -> str:
    """Return an error as one line; a group is replaced by its errors."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(dict.fromkeys(summarize_exception(inner) for inner in error.exceptions))
    text = " ".join(_described(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _error_of(exc_info: object) -> BaseException | None:
    match exc_info:
        case BaseException():
            return exc_info
        case (_, BaseException() as error, _):
            return error
        case None | False:
            return None
        case _:
            return sys.exc_info()[1]


def _exceptions(tracebacks: bool) -> Callable[[Any, str, Fields], Fields]:
    """Return the processor that converts ``exc_info`` to text."""
    transform = ExceptionDictTransformer(show_locals=False, max_frames=20)

    def step(_logger: Any, _method: str, fields: Fields) -> Fields:
        error = _error_of(fields.pop("exc_info", None))
        if error is not None:
            fields.setdefault("error", summarize_exception(error))
            if tracebacks:
                fields["exception"] = [
                    f"{each['exc_type']}: {frame['filename']}:{frame['lineno']} {frame['name']}"
                    for each in transform((type(error), error, error.__traceback__))
                    for frame in each["frames"]
                ]
        return fields

    return step


_FIRST: Final = ("timestamp", "level", "event")


def _clean_step(_logger: Any, _method: str, fields: Fields) -> Fields:
    first = {name: fields[name] for name in _FIRST if name in fields}
    return clean_fields(first | dict(fields))


def _json(_logger: Any, _method: str, fields: Fields) -> str:
    # ASCII only: what a terminal would obey or reorder arrives there as a \u escape.
    return json.dumps(fields, ensure_ascii=True, default=_described)


# Control characters, line separators, and what changes the direction of text (bidi).
_UNSAFE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)


def escape(text: str) -> str:
    """Escape a text for a terminal and keep it on one line."""
    return _UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def _console(_logger: Any, _method: str, fields: Fields) -> str:
    frames = fields.pop("exception", [])
    head = f"{fields['timestamp']} {fields['level']:<7} {escape(str(fields['event']))}"
    pairs = (f"{escape(k)}={_worded(v)}" for k, v in fields.items() if k not in _FIRST)
    lines = (" ".join((head, *pairs)), *(f"    {escape(str(frame))}" for frame in frames))
    return "\n".join(lines)


def _worded(value: object) -> str:
    """Write a value for people: bare when it is one word, else quoted."""
    text = escape(value if isinstance(value, str) else json.dumps(value, default=_described))
    return (
        text if text and not re.search(r"[\s\"=]", text) else json.dumps(text, ensure_ascii=False)
    )


# -- how many lines --------------------------------------------------------------------------------

REPEATED: Final = "log.repeated"
REPEATED_EVERY_S: Final = 60.0
MAX_REPEATED_EVERY_S: Final = 600.0
# What a sum of many events may take; see clean_fields for how many it names.
MAX_NAMED = 20


class _Limited:
    """The limit that is in force, if any, and the wait before the next sum."""

    limit: LineLimit | None = None
    wait_s = REPEATED_EVERY_S


def limit_lines(now_s: Callable[[], float]) -> None:
    """Bound from now on what is written.

    Args:
        now_s: Returns the monotonic time in seconds.
    """
    _Limited.limit, _Limited.wait_s = LineLimit(now_s), REPEATED_EVERY_S


def tell_repeated() -> float:
    """Write how many lines were left out since the last time, if any.

    Returns:
        Seconds until the next time: a minute, or longer and longer while lines are left out.
    """
    if _Limited.limit is None or not (counted := _Limited.limit.left_out()):
        _Limited.wait_s = REPEATED_EVERY_S
        return REPEATED_EVERY_S
    named = dict(list(counted.items())[:MAX_NAMED])
    others = sum(counted.values()) - sum(named.values())
    more = {"others": others} if others else {}
    structlog.get_logger().warning(REPEATED, lines_left_out=named, **more)
    _Limited.wait_s = min(2 * _Limited.wait_s, MAX_REPEATED_EVERY_S)
    return _Limited.wait_s


def end_limit() -> None:
    """Log what was suppressed, and end the limit."""
    tell_repeated()
    _Limited.limit = None


_unheard: ContextVar[tuple[str, ...]] = ContextVar("unheard", default=())


@contextlib.contextmanager
def unheard(*prefixes: str) -> Iterator[None]:
    """Leave out events whose errors are told to a person anyway; at level debug none are.

    Args:
        prefixes: Of the names of events, e.g. ``"cloud."``.
    """
    token = _unheard.set(prefixes)
    try:
        yield
    finally:
        _unheard.reset(token)


def _admitted(_logger: Any, method: str, fields: Fields) -> Fields:
    limit, event = _Limited.limit, str(fields.get("event"))
    if event.startswith(_unheard.get()):
        raise structlog.DropEvent
    if limit is None or event == REPEATED:
        return fields
    name = f"{event} {fields['logger']}" if "logger" in fields else event
    if not limit.admits(name, _content(fields), is_error=method in _ERRORS):
        raise structlog.DropEvent
    return fields


# How long something took, lasted or has to wait, and which error of a server it was.
_VARIES: Final = re.compile(r"\b\d+(?:\.\d+)? s\b|\bstatus 5\d\d\b")


def _content(fields: Fields) -> str:
    """Return a line's fields without what varies: lines of the same content say the same."""
    lasting = (f"{key}={_described(value)}" for key, value in fields.items() if key[-2:] != "_s")
    return _VARIES.sub("", " ".join(lasting))


def _everything(_logger: Any, _method: str, fields: Fields) -> Fields:
    return fields


def _charged(line: str) -> str:
    if _Limited.limit is not None:
        _Limited.limit.wrote(len(line.encode("utf-8", "surrogatepass")) + 1)
    return line


class _Stderr:
    """Writes lines to whatever standard error is at that moment; loses them rather than fail."""

    def msg(self, message: str) -> None:
        """Write one line."""
        with contextlib.suppress(OSError, ValueError, AttributeError):
            sys.stderr.write(message + "\n")
            sys.stderr.flush()

    debug = info = warning = error = critical = exception = msg


class _FromLibraries(logging.Handler):
    """Passes log records of the standard library into the pipeline."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log one record of a library. Total."""
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001 - a library's broken format string is not our failure
            message = str(record.msg)
        level = min(
            (name for name in _LEVELS), key=lambda name: abs(_LEVELS[name] - record.levelno)
        )
        structlog.get_logger().log(
            _LEVELS[level],
            "library.message",
            logger=record.name,
            message=message,
            exc_info=record.exc_info,
        )


def _form(settings: LogSettings) -> str:
    """Return ``json`` or ``console``: what was asked for, or what fits standard error."""
    if settings.format != "auto":
        return settings.format
    try:
        return "console" if sys.stderr.isatty() else "json"
    except (ValueError, AttributeError):  # closed, or there is none
        return "json"


def configure(settings: LogSettings) -> None:
    """Send every log line of the process through the pipeline.

    Args:
        settings: Level and format.
    """
    level = _LEVELS[settings.level]
    render = _json if _form(settings) == "json" else _console
    structlog.configure(
        processors=[
            _admitted if settings.level != "debug" else _everything,
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _exceptions(tracebacks=settings.level == "debug"),
            _clean_step,
            lambda logger, method, fields: _charged(render(logger, method, fields)),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_Stderr,
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()  # noqa: TID251 - the one place that catches what libraries log
    root.handlers[:] = [_FromLibraries()]
    root.setLevel(level)
    for name, least in _CAPPED.items():
        capped = logging.getLogger(name)  # noqa: TID251 - as above
        capped.setLevel(max(level, least))
        capped.propagate = True
    logging.captureWarnings(capture=True)


def install_excepthooks() -> None:
    """Log what the interpreter would print as a traceback: dead threads, failed finalizers."""
    log = structlog.get_logger()

    def thread_died(args: threading.ExceptHookArgs) -> None:
        name = args.thread.name if args.thread is not None else "?"
        log.error("process.thread_died", thread=name, exc_info=args.exc_value)

    def unraisable(args: Any) -> None:
        log.warning("process.unraisable", where=str(args.err_msg), exc_info=args.exc_value)

    threading.excepthook = thread_died
    sys.unraisablehook = unraisable
