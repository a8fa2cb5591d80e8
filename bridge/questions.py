"""Answers to the questions that the command line asks the running bridge over its local socket.

Of several partitions the gateway that serves what a topic is about explains it; where it is served
by another worker, the answer says so.
"""

import asyncio
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bridge.conventions.convention import Convention
from bridge.core.composition import Assembly
from bridge.core.partitions import SPEAKER
from bridge.core.subjects import BRIDGE
from bridge.errors import BridgeError, RecordError
from bridge.ports import Clock
from bridge.recorder.links import explained
from bridge.recorder.recording import Excerpt, Recorder

MAX_TOPIC: Final = 1024
# No partition has this number.
NONE: Final = -1


@dataclass(frozen=True, slots=True)
class SavedRecord:
    """A record on disk.

    Attributes:
        path: Of the file.
        serials: What stands for each serial in it.
    """

    path: str
    serials: Mapping[str, str]


class Questions:
    """Explains topics of the running bridge, and has records written.

    Args:
        core: Of the running bridge.
        recorder: What it handled, if enabled.
        clock: Time.
        salt: Of the installation.
        conventions: With a connection of their own.
        save: Writes a record, given what was recorded and why; called in a thread.
    """

    def __init__(
        self,
        core: Assembly,
        recorder: Recorder | None,
        clock: Clock,
        *,
        salt: bytes,
        save: Callable[[Excerpt, str], SavedRecord],
        conventions: Sequence[Convention] = (),
    ) -> None:
        self._core = core
        self._recorder = recorder
        self._clock = clock
        self._salt = salt
        self._save = save
        self._conventions = conventions

    def concerns(self, topic: str) -> bool:
        """Return whether a topic is of a charger or an Equalizer that is served."""
        served = (*self._core.chargers, *self._core.status.equalizers)
        return any(serial in topic for serial in served)

    async def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Explain a topic.

        Raises:
            BridgeError: No topic is named, or it cannot be explained.
        """
        topic = request.get("explain")
        if isinstance(topic, str) and 0 < len(topic) <= MAX_TOPIC:
            return {"lines": await self._explained(topic)}
        raise BridgeError("the bridge knows no such question")

    async def _explained(self, topic: str) -> list[str]:
        core, recorder = self._core, self._recorder
        at = self._clock.now()
        said = (*core.explain(topic, at), *explained(self._conventions, topic, at))
        now = [f"now: {one}" for one in said]
        if recorder is None or recorder.problem:
            why = "recorder.max_mib is 0" if recorder is None else recorder.problem
            return [*now, f"what led there is not recorded: {why}"]
        excerpt = recorder.excerpt()
        settings, version, salt = core.settings, core.status.version, self._salt

        def replayed() -> list[str]:
            from bridge.recorder.explanation import explanation  # noqa: PLC0415 - few ever ask
            from bridge.recorder.replaying import Record  # noqa: PLC0415 - likewise

            record = Record(settings, version, salt, excerpt.states(), excerpt.stream())
            return explanation(record, topic, tells_end=False)

        return [*await asyncio.to_thread(replayed), *now]

    async def recorded(self, reason: str) -> SavedRecord:
        """Write a record.

        Raises:
            RecordError: Nothing is recorded, or it cannot be written.
        """
        if self._recorder is None:
            raise RecordError("nothing is recorded (recorder.max_mib is 0)")
        try:
            return await asyncio.to_thread(self._save, self._recorder.excerpt(), reason)
        except OSError as error:
            raise RecordError(f"the record cannot be written: {error.strerror}") from error


async def answered(gateways: Mapping[int, Questions], request: dict[str, Any]) -> dict[str, Any]:
    """Answer a request by the gateway that serves what it is about, for a record by all.

    Raises:
        BridgeError: It cannot be answered.
    """
    if not gateways:
        raise BridgeError("no gateway runs in this process now")
    if "record" in request:
        return await _recorded(gateways, request)
    topic = str(request.get("explain", ""))
    levels = topic.split("/")
    found = next((one for one in gateways.values() if one.concerns(topic)), None)
    named = _partition_in(levels)
    if found is None:
        found = gateways.get(named)
    is_divided = set(gateways) != {0}
    if found is None and BRIDGE in levels and named == NONE:
        found = gateways.get(SPEAKER)
    if found is None and is_divided and topic:
        return {"lines": [_elsewhere(topic, gateways)]}
    return await (found or next(iter(gateways.values()))).answer(request)


async def _recorded(gateways: Mapping[int, Questions], request: dict[str, Any]) -> dict[str, Any]:
    """Have all gateways write their records; return the paths, and stand-ins of serials.

    The records of several partitions have stand-ins of their own: those of the first are returned.

    Raises:
        RecordError: None of them can.
    """
    saved, problems = [], []
    for each in gateways.values():
        try:
            saved.append(await each.recorded(str(request["record"])[:20]))
        except RecordError as error:
            problems.append(error)
    if not saved:
        raise problems[0]
    return {"paths": [one.path for one in saved], "serials": dict(saved[0].serials)}


def _elsewhere(topic: str, gateways: Mapping[int, Questions]) -> str:
    served = ", ".join(str(number) for number in sorted(gateways) if number >= 0)
    return (
        f"no partition of this worker has to do with {topic}: it serves {served}; ask on another"
        " worker (charger-bridge cluster status names them; the one with partition 0 also knows"
        " what is below bridge/)"
    )


def _partition_in(levels: list[str]) -> int:
    """Return the partition that a topic names by ``bridge/partition/<nn>``, or :data:`NONE`."""
    pairs = itertools.pairwise(levels)
    named = (number for level, number in pairs if level == "partition" and number.isdecimal())
    return next(map(int, named), NONE)
