"""Answers to the questions that the command line asks the running bridge over its local socket."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Final

from bridge.core.composition import Core
from bridge.errors import BridgeError
from bridge.ports import Clock
from bridge.recorder.explanation import explanation
from bridge.recorder.recording import Recorder
from bridge.recorder.replaying import Record

MAX_TOPIC: Final = 1024
# No partition has this number.
NONE: Final = -1


class Questions:
    """Explains topics of the running bridge, and has records written.

    Args:
        core: Of the running bridge.
        recorder: What it handled, if enabled.
        clock: Time.
        salt: Of the installation.
        save: Writes a record, given what was recorded and why, and returns its path; in a thread.
    """

    def __init__(
        self,
        core: Core,
        recorder: Recorder | None,
        clock: Clock,
        *,
        salt: bytes,
        save: Callable[[Any, str], str],
    ) -> None:
        self._core = core
        self._recorder = recorder
        self._clock = clock
        self._salt = salt
        self._save = save

    @property
    def devices(self) -> Collection[str]:
        """Return the serials that are served."""
        return self._core.chargers

    async def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer a request.

        Raises:
            BridgeError: It is none, or cannot be answered.
        """
        topic = request.get("explain")
        if isinstance(topic, str) and 0 < len(topic) <= MAX_TOPIC:
            return {"lines": await self._explained(topic)}
        if "record" in request:
            return {"path": await self._recorded(str(request["record"])[:20])}
        raise BridgeError("the bridge knows no such question")

    async def _explained(self, topic: str) -> list[str]:
        core, recorder = self._core, self._recorder
        now = [f"now: {one}" for one in core.explain(topic, self._clock.now())]
        if recorder is None or recorder.problem:
            return [*now, "what led there is not recorded (recorder.max_mib)"]
        excerpt = recorder.excerpt()
        settings, version, salt = core.settings, core.status.version, self._salt

        def replayed() -> list[str]:
            record = Record(settings, version, salt, excerpt.states(), excerpt.entries())
            return explanation(record, topic)

        return [*await asyncio.to_thread(replayed), *now]

    async def _recorded(self, reason: str) -> str:
        if self._recorder is None:
            raise BridgeError("nothing is recorded (recorder.max_mib is 0)")
        excerpt = self._recorder.excerpt()
        save: Callable[..., str] = self._save
        writing: Awaitable[str] = asyncio.to_thread(save, excerpt, reason)
        return await writing


async def answered(gateways: Mapping[int, Questions], request: dict[str, Any]) -> dict[str, Any]:
    """Answer a request by the gateway that serves what it is about, else by the first.

    Raises:
        BridgeError: It cannot be answered.
    """
    if not gateways:
        raise BridgeError("no gateway runs in this process now")
    levels = str(request.get("explain", "")).split("/")
    found = (one for one in gateways.values() if any(level in one.devices for level in levels))
    default = gateways.get(_partition_in(levels), next(iter(gateways.values())))
    return await next(found, default).answer(request)


def _partition_in(levels: list[str]) -> int:
    """Return the partition that a topic names by ``bridge/partition/<nn>``, or :data:`NONE`."""
    pairs = itertools.pairwise(levels)
    named = (number for level, number in pairs if level == "partition" and number.isdecimal())
    return next(map(int, named), NONE)
