"""Reads the values that the broker retains, for a source that does not repeat them."""

from collections.abc import Mapping
from typing import Final

import structlog

from bridge.adapters.mqtt.client import collect_retained
from bridge.core.sources.retained_values import retained_observations
from bridge.core.topics import Topics
from bridge.errors import ConnectionLost
from bridge.ports import Clock, Emit
from bridge.settings import MqttSettings

log = structlog.get_logger()

# A broker that is not there has values to publish neither: what is older may then come through.
TIMEOUT_S: Final = 60.0
RETRY_S: Final = 2.0
# In one SUBSCRIBE packet.
MAX_FILTERS: Final = 1_000


async def read_back(
    settings: MqttSettings,
    last: str,
    clock: Clock,
    emit: Emit,
    charger_ids: tuple[str, ...] = ("+",),
) -> None:
    """Emit the retained documents of observations as observations, at QoS 1.

    A broker that cannot be reached is tried again for :data:`TIMEOUT_S`.

    Args:
        settings: The broker.
        last: A topic that is retained, e.g. the state of the bridge: read behind them.
        clock: Times the attempts.
        emit: Takes the observations.
        charger_ids: Of whom; ``+`` stands for all.
    """
    for start in range(0, len(charger_ids), MAX_FILTERS):
        await _read_back(settings, last, clock, emit, charger_ids[start : start + MAX_FILTERS])


async def _read_back(
    settings: MqttSettings, last: str, clock: Clock, emit: Emit, charger_ids: tuple[str, ...]
) -> None:
    topics = Topics(settings.base_topic, settings.reply_prefixes)
    count = 0

    def take(kept: Mapping[str, bytes]) -> None:
        nonlocal count
        count += len(kept)
        for event in retained_observations(kept, topics):
            emit(event)

    filters = tuple(topics.observation(one, "+") for one in charger_ids)
    until_s = clock.now().mono_s + TIMEOUT_S
    while clock.now().mono_s < until_s:
        try:
            await collect_retained(settings, filters, take, last=last)
        except ConnectionLost as error:
            log.debug("values.read_back_failed", reason=str(error))
            await clock.sleep(RETRY_S)
            continue
        log.info("values.read_back", topics=count)
        return
    log.warning("values.not_read_back", hint="older values may replace newer ones once")
