"""What the log promises: one line each, no secret, nothing that moves a terminal's cursor."""

import io
import json
import logging
import sys
import threading
import warnings
from collections import Counter

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from bridge import logs
from bridge.config.loading import load
from bridge.log_limit import SAME_BURST
from bridge.settings import LogSettings

CANARY = "correct horse/battery+staple"
library = logging.getLogger  # noqa: TID251 - libraries log this way


@pytest.fixture
def lines(capsys):
    """Return the JSON lines written so far."""

    def read() -> list[dict]:
        return [json.loads(line) for line in capsys.readouterr().err.splitlines()]

    return read


def configure(level: str = "info", form: str = "json") -> None:
    """Configure as a program would."""
    logs.configure(LogSettings(level, form))


def raised(error: Exception) -> Exception:
    """Give an exception a traceback through a frame that holds a secret."""

    def fail(password: str) -> None:
        assert password
        raise error

    with pytest.raises(type(error)) as caught:
        fail(CANARY)
    return caught.value


def test_a_line_is_one_json_object_on_standard_error(lines):
    """Time, level and event come first; everything else is a key."""
    configure()
    structlog.get_logger().info("stream.connected", chargers=2, silent_s=1.5)

    (line,) = lines()
    assert list(line)[:3] == ["timestamp", "level", "event"]
    assert line["timestamp"].endswith("Z")
    assert line | {"timestamp": ""} == {
        "timestamp": "",
        "level": "info",
        "event": "stream.connected",
        "chargers": 2,
        "silent_s": 1.5,
    }


def test_auto_is_json_where_nobody_sits_before_a_terminal(capsys):
    """Left alone, the format is JSON behind a pipe, and with no standard error at all."""
    configure(form=LogSettings().format)
    structlog.get_logger().info("stream.connected")

    assert json.loads(capsys.readouterr().err)["event"] == "stream.connected"


def test_auto_is_for_people_on_a_terminal(monkeypatch):
    """Left alone, the format is console where standard error is a terminal."""
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    configure(form=LogSettings().format)
    structlog.get_logger().info("stream.connected", chargers=2)

    assert terminal.getvalue().endswith(" info    stream.connected chargers=2\n")


@pytest.mark.parametrize(("given", "written"), [("json", "{"), ("console", "2")])
def test_a_format_that_was_chosen_holds_everywhere(given, written, monkeypatch, capsys):
    """Only auto looks at standard error."""
    for is_terminal in (True, False):
        stream = io.StringIO()
        stream.isatty = lambda is_terminal=is_terminal: is_terminal
        monkeypatch.setattr(sys, "stderr", stream)
        configure(form=given)
        structlog.get_logger().info("stream.connected")

        assert stream.getvalue().startswith(written)


@pytest.mark.parametrize("closed", [True, False])
def test_auto_holds_without_a_standard_error(closed, monkeypatch):
    """A closed or missing standard error does not keep the program from starting."""
    stream = io.StringIO()
    stream.close()
    monkeypatch.setattr(sys, "stderr", stream if closed else None)
    configure(form="auto")
    structlog.get_logger().info("stream.connected")

    assert logs._form(LogSettings()) == "json"


@pytest.mark.parametrize(("level", "expected"), [("info", ["mqtt.b", "cloud.c"]), ("debug", None)])
def test_events_that_are_told_anyway_are_left_out_unless_at_debug(lines, level, expected):
    """Those whose names begin so, as long as the block runs."""
    configure(level)
    log = structlog.get_logger()
    with logs.unheard("cloud."):
        log.error("cloud.a")
        log.info("mqtt.b")
    log.error("cloud.c")

    seen = [line["event"] for line in lines()]
    assert seen == (expected or ["cloud.a", "mqtt.b", "cloud.c"])


def test_less_important_lines_are_left_out(lines):
    """The level of the configuration counts."""
    configure("warning")
    structlog.get_logger().info("a.b")
    structlog.get_logger().warning("c.d")

    assert [line["event"] for line in lines()] == ["c.d"]


@pytest.mark.parametrize(
    "name",
    ["password", "accessToken", "refresh_token", "Authorization", "auth", "pin_code", "pinCode",
     "rfid", "rfid_tag", "idTag", "easee_password", "tokens", "Set-Cookie", "client_secret"],
)  # fmt: skip
def test_a_secret_is_hidden_by_the_name_of_its_key(name, lines):
    """Whatever stands behind such a key is not written, at any depth."""
    configure()
    structlog.get_logger().info("a.b", outer={name: "s3"}, **{name: ["s3", {"x": "s3"}]})

    (line,) = lines()
    assert line[name] == "***"
    assert line["outer"] == {name: "***"}


@pytest.mark.parametrize(
    ("name", "value"),
    [("token_path", "/var/x"), ("auth_reason", 3), ("authorization_required", "x"), ("pin", 1),
     ("auth", None), ("awaiting_authorization", True), ("password_file", "/run/x")],
)  # fmt: skip
def test_a_key_that_only_sounds_like_a_secret_is_shown(name, value, lines):
    """Hiding too much makes people switch it off."""
    configure()
    structlog.get_logger().info("a.b", **{name: value})

    assert lines()[0][name] == value


@pytest.mark.parametrize("level", ["info", "debug"])
@pytest.mark.parametrize("form", ["json", "console"])
def test_a_registered_secret_is_hidden_wherever_it_stands(level, form, capsys):
    """In the event, a text, a URL, JSON, bytes, an exception, or where a text is cut."""
    logs.register_secret(CANARY)
    configure(level, form)
    log = structlog.get_logger()
    log.info(CANARY)
    log.info("a.b", text=f"<{CANARY}>", url="correct%20horse%2Fbattery%2Bstaple", items=[CANARY])
    log.info("a.b", document=json.dumps({"x": CANARY}), raw=CANARY.encode(), **{CANARY: 1})
    log.info("a.b", long="x" * 240 + CANARY, nested={"a": {"b": (CANARY,)}})
    log.error("a.b", exc_info=raised(ValueError(f"no {CANARY}")))
    log.error("a.b", exc_info=raised(ExceptionGroup("g", [OSError(1, CANARY)])))
    library("paho").warning("sent %s", CANARY)

    written = capsys.readouterr().err
    assert written.count("***") >= 9
    for piece in (CANARY, "correct", "battery"):
        assert piece not in written


def test_tokens_are_hidden_by_their_shape(lines):
    """A bearer token or JWT that nobody registered is hidden as well."""
    configure()
    token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.s5t-Xq_z"
    structlog.get_logger().info("a.b", header="Bearer abc.def", text=f"it was {token}, then")

    (line,) = lines()
    assert (line["header"], line["text"]) == ("***", "it was ***, then")


def test_many_tokens_do_not_push_a_password_out(lines):
    """What is replaced over time is forgotten, what stays is not."""
    configure()
    logs.register_secret(CANARY)
    for number in range(200):
        logs.register_secret(f"token-{number:04d}", passing=True)
    structlog.get_logger().info("a.b", old="token-0000", new="token-0199", stays=CANARY)

    (line,) = lines()
    assert (line["old"], line["new"], line["stays"]) == ("token-0000", "***", "***")


def test_the_secrets_of_a_configuration_are_registered():
    """Both passwords are hidden once the settings are known."""
    environ = {
        "CHARGER_BRIDGE_EASEE__USERNAME": "me",
        "CHARGER_BRIDGE_EASEE__PASSWORD": "first secret",
        "CHARGER_BRIDGE_MQTT__USERNAME": "me",
        "CHARGER_BRIDGE_MQTT__PASSWORD": "second secret",
    }
    logs.register_secrets(load(None, environ))

    assert logs.redact("first secret, second secret") == "***, ***"


def test_a_traceback_appears_at_debug_only_and_without_values(lines):
    """At other levels an exception is one text; at debug its places are listed."""
    configure("info")
    structlog.get_logger().error("a.b", exc_info=raised(ValueError("broken\nin two")))
    configure("debug")
    structlog.get_logger().error("a.b", exc_info=raised(ValueError("broken")))

    short, long = lines()
    assert short["error"] == "ValueError: broken in two"
    assert "exception" not in short
    assert any("fail" in frame for frame in long["exception"])
    assert CANARY not in json.dumps(long)


def test_an_exception_group_is_told_by_what_is_in_it():
    """A task group's own words say nothing."""
    group = ExceptionGroup("g", [ValueError("a"), ExceptionGroup("h", [OSError("b")])])

    assert logs.summarize_exception(group) == "ValueError: a; OSError: b"


def test_long_texts_and_deep_structures_are_cut(lines):
    """A line has a bounded size."""
    configure()
    deep: object = "end"
    for _ in range(50):
        deep = [deep]
    structlog.get_logger().info("a.b", long="x" * 10_000, many=list(range(10_000)), deep=deep)

    (line,) = lines()
    assert len(line["long"]) == logs.MAX_TEXT_LENGTH
    assert len(line["many"]) == logs.MAX_ITEMS
    assert len(json.dumps(line)) < 2_000


@given(st.text(max_size=80))
def test_no_text_breaks_a_console_line(text):
    """Line breaks, escapes and direction marks never reach the terminal."""
    fields = {"timestamp": "t", "level": "info", "event": text, "key": text, text: text}
    line = logs._console(None, "info", logs.clean_fields(fields) | {"level": "info"})

    assert len(line.splitlines()) == 1
    assert logs.escape(line) == line


def test_an_ansi_escape_is_shown_and_not_obeyed(capsys):
    """A charger's name may hold anything; a terminal sees text."""
    configure("info", "console")
    structlog.get_logger().info("a.b", name="\x1b[2Jred\u202egnp.exe\nfake: line")

    written = capsys.readouterr().err
    assert written.count("\n") == 1
    assert r"\x1b[2Jred\u202egnp.exe" in written.replace("\\\\", "\\")


def test_libraries_speak_through_the_same_pipeline_and_not_below_warning(lines):
    """Some print headers at debug; nobody wants to see them at any level."""
    configure("debug")
    for name in ("httpcore.http11", "httpx", "paho.mqtt", "websockets.client", "amqtt.broker"):
        library(name).info("secret things")
    library("httpx").warning("careful: %s", 7)
    library("other").error("%d", "no number")

    assert [(line["event"], line["logger"], line["message"]) for line in lines()] == [
        ("library.message", "httpx", "careful: 7"),
        ("library.message", "other", "%d"),
    ]


def test_python_warnings_are_log_lines(lines):
    """A deprecation does not print itself between the lines."""
    configure()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("old", UserWarning, stacklevel=1)
        logging.captureWarnings(capture=False)

    assert "old" in lines()[0]["message"]


def test_logging_survives_a_closed_standard_error(monkeypatch):
    """A lost log line is no reason to stop charging cars."""

    class Broken:
        def write(self, _text: str) -> None:
            raise BrokenPipeError

        flush = write

    configure()
    monkeypatch.setattr(sys, "stderr", Broken())
    structlog.get_logger().info("a.b")
    monkeypatch.setattr(sys, "stderr", None)
    structlog.get_logger().info("a.b")


def test_a_value_whose_repr_fails_is_named_by_its_type(lines):
    """Somebody else's mistake does not cost us the line."""

    class Hostile:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    configure()
    structlog.get_logger().info("a.b", value=Hostile())

    assert lines()[0]["value"] == "<Hostile>"


def test_a_dead_thread_and_a_failed_finalizer_are_log_lines(lines):
    """What the interpreter would print as a traceback is one line like any other."""
    configure()
    logs.install_excepthooks()

    def fail() -> None:
        raise ValueError("in a thread")

    thread = threading.Thread(target=fail, name="worker")
    thread.start()
    thread.join()
    hook_arguments = type("Arguments", (), {"err_msg": "ignored", "exc_value": ValueError("late")})
    sys.unraisablehook(hook_arguments)

    dead, unraisable = lines()
    assert (dead["event"], dead["thread"]) == ("process.thread_died", "worker")
    assert dead["error"] == "ValueError: in a thread"
    assert (unraisable["event"], unraisable["error"]) == ("process.unraisable", "ValueError: late")


def test_repeated_lines_are_summed_and_a_flood_stays_below_a_megabyte(lines):
    """Fifty refused commands a second for an hour: a few lines a minute, and sums that add up."""
    now_s = 0.0
    configure()
    logs.limit_lines(lambda: now_s)
    log = structlog.get_logger()
    size, told = 0, 0
    try:
        for _ in range(60):
            for number in range(3000):
                log.info("command.refused", command=f"start{number}", at="x" * 90)
            now_s += 60.0
            logs.tell_repeated()
            for line in lines():
                size += len(json.dumps(line)) + 1
                left_out = line.get("lines_left_out", {}).get("command.refused")
                told += left_out if left_out is not None else 1
    finally:
        logs.end_limit()
    assert told == 60 * 3000
    assert size < 200_000


def test_lines_that_differ_only_in_durations_are_the_same(lines):
    """How long a connection lived does not make its end another event; why it ended does."""
    configure()
    logs.limit_lines(lambda: 0.0)
    log = structlog.get_logger()
    for number in range(40):
        log.warning("mqtt.disconnected", reason=f"silent for {number} s", lived_s=number)
    log.warning("mqtt.disconnected", reason="reset by peer", lived_s=7)
    for number in range(20):
        log.info("command.finished", state="confirmed", elapsed_ms=number)
    logs.end_limit()

    *written, sums = lines()
    told = Counter(line["event"] for line in written)
    assert told == {"mqtt.disconnected": SAME_BURST + 1, "command.finished": 20}
    assert sums["lines_left_out"] == {"mqtt.disconnected": 40 - SAME_BURST}


def test_sums_are_told_less_and_less_often_while_lines_are_left_out():
    """The first after a minute, the last every ten; when nothing was left out it begins anew."""
    configure()
    logs.limit_lines(lambda: 0.0)
    waits = []
    for left_out in (True, True, True, True, True, False, True):
        if left_out:
            for _ in range(2 * SAME_BURST):
                structlog.get_logger().info("event.again")
        waits.append(logs.tell_repeated())
    logs.end_limit()

    assert waits == [120.0, 240.0, 480.0, 600.0, 600.0, 60.0, 120.0]


def test_one_library_that_repeats_itself_hides_no_other(lines):
    """Lines of libraries are counted by library."""
    configure()
    logs.limit_lines(lambda: 0.0)
    try:
        for _ in range(1000):
            library("paho").warning("again")
        library("websockets").warning("for the first time")
    finally:
        logs.end_limit()
    assert lines()[-2]["logger"] == "websockets"


def test_a_sum_names_the_most_frequent_and_counts_the_others(lines):
    """However many events are repeated, a sum is one short line."""
    configure()
    logs.limit_lines(lambda: 0.0)
    log = structlog.get_logger()
    for number in range(100):
        for _ in range(40 + number):
            log.info("".join(("event.number_", str(number))))
    lines()
    logs.end_limit()
    (line,) = lines()
    assert (line["event"], line["level"]) == (logs.REPEATED, "warning")
    assert len(line["lines_left_out"]) == logs.MAX_NAMED
    assert "event.number_99" in line["lines_left_out"]
    written = sum(line["lines_left_out"].values()) + line["others"]
    assert written > 5000


def test_at_level_debug_everything_is_written(lines):
    """Who asks for everything gets it."""
    configure("debug")
    logs.limit_lines(lambda: 0.0)
    for _ in range(200):
        structlog.get_logger().debug("event.again")
    logs.end_limit()
    assert len(lines()) == 200
