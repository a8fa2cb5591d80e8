"""What the targets share: cutting an input into parts, and a core that is judged."""

import json
import zlib
from collections import deque
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from bridge import logs
from bridge.adapters.easee.http_client import HttpClient
from bridge.adapters.mqtt.publish_validation import check_publish
from bridge.core import composition
from bridge.core.easee.decode import MAX_TEXT_BYTES
from bridge.core.effects import Effect, LogEntry, SaveCommand, SendRequest
from bridge.core.events import CloudFailed, CommandSaved, Event, MqttConnected, Started, Tick
from bridge.core.messages import Publish
from bridge.core.records.moment import Timestamp
from bridge.core.records.stored_report import StoredReport
from bridge.core.topics import Topics
from bridge.errors import CloudUnavailable
from bridge.settings import CommandSettings, EaseeSettings, MqttSettings, Secret, Settings
from tests.native import handled

NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
NOW = Timestamp(NOON, 1000.0)
ONE = "EH123456"
API = "https://api.example.com"
ALL = ("control", "access", "current", "device", "installer", "maintenance", "schedule")
SETTINGS = Settings(
    EaseeSettings("x@example.com", Secret("fuzz-password"), (ONE,)),
    commands=CommandSettings(allow=ALL),
)

TOPICS = Topics(reply_prefixes=("answers/",))
# What one input may grow to: the largest text of the stream, in JSON, in a document.
MAX_OUT_BYTES = 8 * MAX_TEXT_BYTES
# Separates the parts of an input that consists of several.
CUT = b"\xff\xfe"


def parts(data: bytes, count: int) -> list[bytes]:
    """Cut an input into so many parts; those that are missing are empty."""
    found = data.split(CUT, count - 1)
    return found + [b""] * (count - len(found))


def text_of(data: bytes) -> str:
    """Read bytes as a text, half surrogate pairs among it: a broker or a file may hold anything."""
    return data.decode("utf-8", "surrogateescape")


# -- the core behind its adapters ----------------------------------------------------------------


def is_ours(message: Publish) -> bool:
    """Say whether a topic is one the bridge may publish to: none it is commanded by."""
    if TOPICS.may_reply_to(message.topic):
        return True
    levels = message.topic.split("/")
    if levels[:4] == ["charger", "bridge", "alert", "session_unreadable"] and len(levels) > 4:
        return levels[4:] == [ONE]
    if levels[0] != "charger" or len(levels) not in (3, 4):
        return False
    if levels[1] == "bridge":
        return levels[2] in ("state", "cloud", "info", "health", "alert")
    return is_served(levels[1]) or (levels[2] == "result" and not message.retained)


def is_served(charger_id: str) -> bool:
    """Say whether a charger is the one of the configuration."""
    return charger_id == ONE


def judge(effect: Effect) -> None:
    """Check what left the core."""
    if isinstance(effect, Publish):
        assert is_ours(effect), effect.topic
        assert len(effect.payload) <= MAX_OUT_BYTES
        check_publish(effect, properties=True, largest_packet_bytes=None)
    elif isinstance(effect, SendRequest):
        assert ONE in effect.request.path or effect.request.path == "/api/chargers"
        HttpClient._checked(EXCHANGE, API, effect.request.path)
    elif isinstance(effect, LogEntry):
        assert effect.event != "component.failed", effect.fields
        line = logs._json(None, "", logs.clean_fields({"event": effect.event, **effect.fields}))
        assert line.isascii()
        assert line.isprintable()


class Core:
    """A started core with one charger and a broker, used for a while: building one takes longest.

    Attributes:
        most: Inputs before a new one is begun; 1 to see whether a failure needs those before it.
        every: Of inputs whose parser is what counts, every so many goes through the core as well,
            by their content; parsing is a hundred times faster.
    """

    def __init__(self, most: int = 200, every: int = 16) -> None:
        self.most = most
        self.every = every
        self._used = most
        self._seconds = 0.0

    def wants(self, data: bytes) -> bool:
        """Say whether an input goes through the core as well."""
        return zlib.crc32(data) % self.every == 0

    def take(self, *events: Event, settle: bool = False) -> list[Effect]:
        """Run the core through events; commands are on disk at once, and then time passes.

        Args:
            events: What happens.
            settle: See to it that nothing is left under way.
        """
        first: tuple[Event, ...] = ()
        if self._used >= self.most:
            self._used, self._seconds = 0, 0.0
            self._machine = composition.Core(CORE_SETTINGS, version="1", salt=b"salt")
            first = (Started(), MqttConnected(True, "5", 20))
        self._used += 1
        out = self._run(*first, *events)
        self._seconds += LONGER_THAN_A_COMMAND_S
        return out + self._run(Tick()) if settle else out

    def _run(self, *events: Event) -> list[Effect]:
        waiting: deque[Event] = deque(events)
        now = Timestamp(NOON + timedelta(seconds=self._seconds), 1000.0 + self._seconds)
        out: list[Effect] = []
        for _ in range(MAX_STEPS):
            if not waiting:
                return out
            for effect in handled(self._machine, waiting.popleft(), now):
                judge(effect)
                out.append(effect)
                if isinstance(effect, SaveCommand):
                    waiting.append(CommandSaved(effect.row.key, effect.row.state))
                if isinstance(effect, SendRequest):
                    waiting.append(CloudFailed(effect.tag, CloudUnavailable("away")))
        raise AssertionError("the core does not come to rest")


MAX_STEPS = 100
LONGER_THAN_A_COMMAND_S = 700.0
CORE_SETTINGS = replace(SETTINGS, mqtt=MqttSettings(host="localhost", reply_prefixes=("answers/",)))
CORE = Core()
shake = CORE.take


EXCHANGE = HttpClient(API)


def answers(effects: list[Effect]) -> list[dict[str, Any]]:
    """List the final answers among effects, those on result topics."""
    return [
        document
        for effect in effects
        if isinstance(effect, Publish) and "/result/" in effect.topic
        for document in [json.loads(effect.payload)]
        if document["final"]
    ]


def any_of(data: bytes) -> Any:
    """Read JSON where it is some, else a text: how values come over REST and over the stream."""
    try:
        return msgspec.json.decode(data)
    except (ValueError, RecursionError):
        return data.decode("utf-8", "ignore")


def stored(report: Any) -> Any:
    """Make a row of a report."""
    return StoredReport("key", 1, report)
