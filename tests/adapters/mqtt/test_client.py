"""The link's decisions between connections; everything with a socket is in ``tests/broker``."""

import pytest
from structlog.testing import capture_logs

from bridge.adapters.mqtt import client as mqtt
from bridge.adapters.mqtt.connect_errors import AttemptFailed, Cause
from bridge.core.events import MqttDisconnected, MqttUnreachable
from bridge.core.messages import Publish
from bridge.errors import ConnectionLost
from bridge.settings import MqttSettings

pytestmark = pytest.mark.anyio

MESSAGE = Publish("charger/bridge/state", b"offline")


class Enough(Exception):
    """Ends an endless run."""


class Scripted(mqtt.MqttClient):
    """A link whose connections end as a list says, without any broker."""

    def __init__(self, clock, outcomes, *, version="auto"):
        self.events = []
        self.spoken = []
        self._outcomes = list(outcomes)
        super().__init__(
            MqttSettings(version=version),
            will=MESSAGE,
            subscriptions=(),
            clock=clock,
            emit=self.events.append,
        )

    async def _one_connection(self, protocol):
        self.spoken.append(protocol)
        if not self._outcomes:
            raise Enough
        match self._outcomes.pop(0):
            case Cause() as cause:
                raise AttemptFailed(f"because of {cause.value}", cause)
            case float() as lived_s:
                self._told_down = False
                self._clock.advance(lived_s)
                return f"after {lived_s:g} s"


async def run(clock, *outcomes, **options):
    """Play outcomes and return the link afterwards."""
    link = Scripted(clock, outcomes, **options)
    with pytest.raises(Enough):
        await link.run()
    return link


async def test_waits_grow_to_a_minute_and_start_small(clock):
    """A broker that refuses us is visited ever more rarely."""
    await run(clock, *[Cause.OTHER] * 9)

    assert clock.slept_s == [0.75, 1.5, 3, 6, 12, 24, 45, 45, 45]


@pytest.mark.parametrize("cause", [Cause.UNREACHED, Cause.SILENT])
async def test_an_absent_broker_is_found_within_five_seconds(clock, cause):
    """However long a broker was away, nobody waits longer than 5 s for it."""
    clock.draw = 0.999
    await run(clock, *[cause] * 40, version="5")

    assert max(clock.slept_s) <= 5.0


async def test_a_connection_that_lived_starts_over(clock):
    """After a settled connection the first wait is short again."""
    await run(clock, Cause.OTHER, Cause.OTHER, Cause.OTHER, 31.0)

    assert clock.slept_s == [0.75, 1.5, 3, 0.75]


@pytest.mark.fault("F16")
async def test_a_broker_that_accepts_and_kicks_is_visited_rarely(clock):
    """A connection that ends soon counts as failed: six visits a minute at most, after one."""
    await run(clock, *[1.0] * 20)

    assert min(clock.slept_s[5:]) >= 10


async def test_the_other_version_is_tried_without_waiting(clock):
    """Finding out the version costs no back-off and no event."""
    link = await run(clock, Cause.OLD_BROKER, 100.0)

    assert link.spoken == ["5", "3.1.1", "3.1.1"]
    assert link.events == [MqttDisconnected("after 100 s")]


async def test_losses_are_told_once_and_failures_in_between_for_each_new_reason(clock):
    """The core hears why nothing works, once for each reason, and every loss, once."""
    with capture_logs() as logs:
        link = await run(
            clock, Cause.UNREACHED, Cause.UNREACHED, Cause.OTHER, 40.0, Cause.UNREACHED, 50.0
        )

    assert link.events == [
        MqttDisconnected("because of unreached"),
        MqttUnreachable("because of other"),
        MqttDisconnected("after 40 s"),
        MqttUnreachable("because of unreached"),
        MqttDisconnected("after 50 s"),
    ]
    assert [entry["event"] for entry in logs] == [
        "mqtt.connect_failed",
        "mqtt.connect_failed",
        "mqtt.disconnected",
        "mqtt.connect_failed",
        "mqtt.disconnected",
    ]


async def test_qos_0_is_asked_for_once(clock):
    """A broker that takes no will at QoS 1 is asked again, at once, and only once."""
    link = await run(clock, Cause.QOS, Cause.QOS)

    assert link._qos == 0
    assert clock.slept_s == [0.75]


async def test_an_older_broker_that_just_closes_is_asked_at_qos_0_in_between(clock):
    """It cannot say what it has against us; a broker that is starting up is asked at QoS 1 too."""
    asked = []
    for closed in range(4):
        link = await run(clock, *[Cause.NO_ANSWER] * closed, version="3.1.1")
        options = link._connect_options("3.1.1")
        asked.append((options.qos, options.publish_qos))

    assert asked == [(1, 1), (0, 0), (1, 1), (0, 0)]


async def test_publishing_without_a_connection_is_told(clock):
    """Nothing is queued here."""
    link = Scripted(clock, [])
    with pytest.raises(ConnectionLost):
        link.publish(MESSAGE)
    await link.close(MESSAGE)

    await link.run()
    assert link.spoken == []
