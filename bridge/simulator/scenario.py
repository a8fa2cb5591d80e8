"""Options of a simulated cloud."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from bridge.errors import ConfigError
from bridge.simulator.telemetry import GRIDS

FIRST_SERIAL = 1
PENDING_OP_MODES = (2, 7)
# A day in about nine seconds; beyond that a step no longer keeps up with what it has to live.
MAX_SPEED = 10_000
NOT_NEGATIVE = (
    "authorize_after_s",
    "token_ttl_s",
    "refresh_ttl_s",
    "offline_for_s",
    "offline_sessions",
    "too_many_requests",
    "retry_after_s",
    "revoke_after_s",
    "command_latency_s",
    "ping_interval_s",
    "client_timeout_s",
    "step_interval_s",
)


@dataclass(frozen=True, slots=True)
class Scenario:
    """The options of one simulated cloud.

    Durations of the world (charging, waiting, dynamic limits) run ``speed`` times as fast as the
    wall clock; stamps, tokens and rate limits are in real seconds.

    Attributes:
        chargers: How many, ``EH000001`` and up.
        sites: How many. Circuits are dealt out to them in turn; Equalizers are at the first.
        equalizers: How many meters of the house, ``QP000001`` and up.
        load_balancing: The Equalizer limits the chargers by what the house draws.
        equalizer_state_forbidden: Answer 403 to reads of an Equalizer's state, as for some
            accounts.
        seed: Everything that varies is drawn from it.
        speed: 60 makes a minute of charging pass in a second.
        username: The one user name that logs in; None allows any.
        password: Its password; None accepts any.
        traffic: Cars come and go by themselves. Tests that plug in themselves switch it off.
        authorization_required: True or False for every charger. None mixes: the first, fourth, …
            wants the cloud's authorization, the second, fifth, … is open, the third, sixth, …
            wants a tag from its own list.
        authorize_after_s: World seconds after which somebody else authorizes a waiting car through
            the cloud. None leaves it waiting for you.
        tags_known: The cloud knows every tag that is shown and authorizes the waiting car. False:
            it knows none, and the car goes on waiting for you. A charger that goes by a list of
            its own takes them all.
        grid: ``tn`` (three phases), ``tn_1_phase`` or ``it`` (between two conductors).
        pending_op_mode: Op mode while authorization is pending: 7, or 2 as older firmware says.
        token_ttl_s: Life of an access token.
        refresh_ttl_s: Life of a refresh token.
        offline: Serials, or numbers counted from 1, of chargers that start without their cloud.
        offline_for_s: World seconds until those come back by themselves; None: not by themselves.
        offline_sessions: How many sessions each brings along, with AuthReason 3 and 4 in turn.
        direct_ocpp: Serials, or numbers counted from 1, of chargers that a local OCPP server
            controls: a schedule for them is answered 409.
        rate_limits: Answer 429 beyond the vendor's documented limits.
        too_many_requests: Answer 429 to every n-th REST request; 0 for none.
        retry_after_s: What ``Retry-After`` says then.
        revoke_after_s: Real seconds after which all tokens are revoked once; None: never.
        blocked: Start as a cloud that has blocked this address.
        command_latency_s: Real seconds until a charger answers a command.
        ping_interval_s: Seconds of quiet after which the hub pings.
        client_timeout_s: Seconds of quiet after which the hub gives a client up.
        records_per_frame: At most so many hub records go into one WebSocket message.
        amqp: Address of a RabbitMQ that is fed as the vendor feeds its partners,
            ``amqp://user:password@host:port/vhost``; None: no such feed.
        step_interval_s: Real seconds between two steps of the world; 0: only ``Simulator.step()``.
    """

    chargers: int = 3
    sites: int = 1
    equalizers: int = 1
    load_balancing: bool = False
    equalizer_state_forbidden: bool = False
    seed: int = 1
    speed: float = 1.0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    traffic: bool = True
    authorization_required: bool | None = None
    authorize_after_s: float | None = None
    tags_known: bool = True
    grid: str = "tn"
    pending_op_mode: int = 7
    token_ttl_s: int = 3600
    refresh_ttl_s: int = 86_400
    offline: tuple[str | int, ...] = ()
    offline_for_s: float | None = None
    offline_sessions: int = 0
    direct_ocpp: tuple[str | int, ...] = ()
    rate_limits: bool = True
    too_many_requests: int = 0
    retry_after_s: int = 2
    revoke_after_s: float | None = None
    blocked: bool = False
    command_latency_s: float = 0.3
    ping_interval_s: float = 15.0
    client_timeout_s: float = 30.0
    records_per_frame: int = 20
    step_interval_s: float = 0.25
    amqp: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        problems = tuple(self._problems())
        if problems:
            raise ConfigError(problems)

    def _problems(self) -> Iterator[str]:
        if self.chargers < 1:
            yield f"chargers: must be 1 or more, not {self.chargers}"
        if self.equalizers < 0:
            yield f"equalizers: must be 0 or more, not {self.equalizers}"
        if not 0 < self.speed <= MAX_SPEED:
            yield f"speed: must be above 0 and at most {MAX_SPEED}, not {self.speed}"
        if self.pending_op_mode not in PENDING_OP_MODES:
            yield f"pending_op_mode: must be 2 or 7, not {self.pending_op_mode}"
        if self.grid not in GRIDS:
            yield f"grid: must be one of {', '.join(GRIDS)}, not {self.grid}"
        if self.records_per_frame < 1:
            yield f"records_per_frame: must be 1 or more, not {self.records_per_frame}"
        yield from self._strangers("offline", self.offline_serials)
        yield from self._strangers("direct_ocpp", self.direct_serials)
        for name in NOT_NEGATIVE:
            value = getattr(self, name)
            if value is not None and not 0 <= value < float("inf"):
                yield f"{name}: must be 0 or more, not {value}"

    def _strangers(self, option: str, named: frozenset[str]) -> Iterator[str]:
        if strangers := named - set(self.serials):
            yield f"{option}: no such charger: {', '.join(sorted(strangers))}"

    @property
    def serials(self) -> tuple[str, ...]:
        """Return the chargers the cloud starts with."""
        return tuple(serial(FIRST_SERIAL + index) for index in range(self.chargers))

    @property
    def offline_serials(self) -> frozenset[str]:
        """Return the chargers that start offline."""
        return _serials(self.offline)

    @property
    def direct_serials(self) -> frozenset[str]:
        """Return the chargers that start under an OCPP server of their own."""
        return _serials(self.direct_ocpp)


def _serials(named: tuple[str | int, ...]) -> frozenset[str]:
    return frozenset(serial(one) if isinstance(one, int) else one for one in named)


def serial(number: int) -> str:
    """Return the serial of the n-th charger, counted from 1."""
    return f"EH{number:06d}"
