"""Controls of a running simulated cloud, for tests and the demo."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from bridge.simulator.accounts import Accounts
from bridge.simulator.hub import Hub
from bridge.simulator.limits import Limits
from bridge.simulator.observation_table import CHARGER_OBSERVATIONS
from bridge.simulator.problems import Answer, NoBody
from bridge.simulator.readings import Reading, Response, Update, Value, data_type_of
from bridge.simulator.scenario import Scenario
from bridge.simulator.sessions import Car
from bridge.simulator.world import World

HUBS = ("/hubs/chargers", "/hubs/products")
REQUESTS_KEPT = 10_000

Now = Callable[[], datetime]


@dataclass(slots=True)
class Seen:
    """One request that arrived.

    Attributes:
        path: With the query.
        body: Raw. Not in the repr: it may hold a password.
        status: What it was answered with; 101 for a socket, 0 while it is not answered.
        user_agent: What the client calls itself.
        at: When.
    """

    method: str
    path: str
    body: bytes = field(repr=False)
    user_agent: str
    at: datetime
    status: int = 0


@dataclass(slots=True)
class Prepared:
    """An answer that waits for its request; see :meth:`Simulator.answer_next`."""

    prefix: str
    answer: Answer
    times: int
    execute: bool
    delay_s: float


class Feed(Protocol):
    """Somebody besides the hub's clients who is sent everything."""

    def tell(self, happened: Iterable[Update | Response]) -> None:
        """Take what chargers say, in order."""
        ...


class Simulator:
    """A running simulated cloud.

    Attributes:
        world: The chargers.
        accounts: Tokens.
        hub: Who listens.
        api_url: Base of the REST interface, without a path.
        now: The wall clock.
        limits: Who is told to wait.
        blocked: Every client is refused.
        feed: The partner feed, where there is one.
    """

    def __init__(self, scenario: Scenario, now: Now) -> None:
        self.scenario = scenario
        self.world = World(scenario, now())
        self.accounts = Accounts(scenario)
        self.hub = Hub(scenario, self._replay)
        self.api_url = ""
        self.blocked = scenario.blocked
        self.now = now
        self._started_at = now()
        self._revoked = False
        self.limits = Limits() if scenario.rate_limits else Limits(())
        self.prepared: list[Prepared] = []
        self.seen: deque[Seen] = deque(maxlen=REQUESTS_KEPT)
        self.counted = 0
        self.feed: Feed | None = None

    @property
    def stream_url(self) -> str:
        """Return the URL of the hub."""
        return self.api_url + HUBS[0]

    @property
    def requests(self) -> list[Seen]:
        """Return the last ten thousand requests, oldest first."""
        return list(self.seen)

    @property
    def connections(self) -> int:
        """Return how many clients are connected to the hub."""
        return len(self.hub.connections)

    @property
    def subscribed(self) -> frozenset[str]:
        """Return the chargers with a subscribed client."""
        return frozenset().union(*(one.subscribed for one in self.hub.connections))

    # -- handles -----------------------------------------------------------------------------

    def step(self) -> None:
        """Advance the world up to now and send events to the clients."""
        now = self.now()
        after_s = self.scenario.revoke_after_s
        if (
            after_s is not None
            and not self._revoked
            and (now - self._started_at).total_seconds() >= after_s
        ):
            self._revoked = True
            self.revoke_tokens()
        self.world.step(now)
        self.tell()

    def plug_in(self, charger_id: str, car: Car | None = None) -> None:
        """Connect a car."""
        self.live_to_now()
        self.world.chargers[charger_id].plug_in(car or Car())
        self.tell()

    def unplug(self, charger_id: str) -> None:
        """Unplug the car; the session ends and is reported."""
        self.live_to_now()
        self.world.chargers[charger_id].unplug()
        self.tell()

    def show_tag(self, charger_id: str, tag: str) -> None:
        """Read an RFID tag (hexadecimal) at the charger."""
        self.live_to_now()
        self.world.chargers[charger_id].show_tag(tag)
        self.tell()

    def touch(self, charger_id: str) -> None:
        """Press the touch button."""
        self.live_to_now()
        self.world.chargers[charger_id].touch()
        self.tell()

    def fail(self, charger_id: str, code: int) -> None:
        """Set an error of a charger; 0 clears it."""
        self.live_to_now()
        self.world.chargers[charger_id].fail(code)
        self.tell()

    def set_offline(self, charger_id: str) -> None:
        """Disconnect a charger from the cloud."""
        self.live_to_now()
        self.world.chargers[charger_id].go_offline()
        self.tell()

    def bring_back(self, charger_id: str, sessions: int | None = None) -> None:
        """Connect a charger to the cloud again.

        Args:
            charger_id: The charger.
            sessions: How many it ran meanwhile; None: as the scenario says.
        """
        self.live_to_now()
        count = self.scenario.offline_sessions if sessions is None else sessions
        self.world.bring_back(charger_id, count)
        self.tell()

    def add_charger(self, charger_id: str) -> None:
        """Add a charger to the account."""
        self.live_to_now()
        self.world.add(charger_id)
        self.tell()

    def reject_next(self, charger_id: str) -> None:
        """Make the charger reject the next command."""
        self.world.chargers[charger_id].reject_next = True

    def push(
        self,
        charger_id: str,
        observation_id: int,
        value: Value,
        at: datetime | None = None,
        data_type: int | None = None,
    ) -> None:
        """Send an observation as it is, true or not.

        A known charger keeps it as its last word; an unknown one's goes to every connection.

        Args:
            charger_id: Need not exist.
            observation_id: Need not exist.
            value: A text goes out unchanged.
            at: Charger time; None: now.
            data_type: None: as the table of observations says.
        """
        self.live_to_now()
        kind = (
            data_type
            if data_type is not None
            else data_type_of(CHARGER_OBSERVATIONS, observation_id, value)
        )
        reading = Reading(value, kind, at if at is not None else self.now())
        charger = self.world.chargers.get(charger_id)
        if charger is not None:
            charger.record(observation_id, reading)
            self.tell()
        else:
            update = Update(charger_id, observation_id, reading)
            self.hub.tell_everybody(update)
            if self.feed is not None:
                self.feed.tell((update,))

    def send_raw(self, text: str) -> None:
        """Send a text to every hub connection, as it is; whole records end with 0x1E."""
        self.hub.tell_all(text)

    def silence(self, silent: bool) -> None:
        """Make the hub half-open: it accepts everything and sends nothing, not even pings."""
        self.hub.silent = silent

    def drop_connections(self) -> None:
        """Drop every hub connection without a message."""
        self.hub.drop_all()

    def close_connections(self, error: str | None = None, *, allow_reconnect: bool = True) -> None:
        """Send a close message (type 7) on every hub connection."""
        self.hub.close_all(error, allow_reconnect=allow_reconnect)

    def revoke_tokens(self, *, refresh_too: bool = True) -> None:
        """Make every access token invalid, and the refresh tokens unless specified otherwise."""
        self.accounts.revoke(refresh_too=refresh_too)

    def block(self, blocked: bool = True) -> None:
        """Answer everything with the text of an IP block."""
        self.blocked = blocked

    def answer_next(
        self,
        path_prefix: str,
        status: int,
        body: object = NoBody,
        headers: Mapping[str, str] | None = None,
        *,
        times: int = 1,
        execute: bool = False,
        delay_s: float = 0.0,
    ) -> None:
        """Prepare the answer to the next request under a path.

        Args:
            path_prefix: E.g. ``"/api/chargers/EH000001/commands/"``.
            status: HTTP status; 0 cuts the connection instead of answering.
            body: JSON value, or bytes that go out as they are.
            headers: Further headers.
            times: For how many requests.
            execute: Carry the request out all the same, and hide the true answer.
            delay_s: Seconds to wait before answering.
        """
        answer = Answer(status, body, headers or {})
        self.prepared.append(Prepared(path_prefix, answer, times, execute, delay_s))

    # -- inside ------------------------------------------------------------------------------

    def live_to_now(self) -> None:
        """Advance the world up to now without sending events."""
        self.world.step(self.now())

    def tell(self) -> None:
        """Send the pending events to the clients."""
        self._send(tuple(self.world.drain()))

    def _send(self, happened: tuple[Update | Response, ...]) -> None:
        self.hub.tell(happened)
        if self.feed is not None:
            self.feed.tell(happened)

    def _replay(self, charger_id: str) -> list[Update] | None:
        charger = self.world.chargers.get(charger_id) or self.world.equalizers.get(charger_id)
        if charger is None:
            return None
        # Whatever is still on its way would come twice, and the older one second.
        self.tell()
        return [
            Update(charger_id, observation_id, reading)
            for observation_id, reading in sorted(charger.readings.items())
        ]
