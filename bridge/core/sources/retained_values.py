"""Reads the documents of observations that the broker retains back into observations.

A source that does not repeat values needs them after a start: what it delivers next may be older.
Each keeps the charger's time, so applying them changes nothing that is newer. Sessions are left
out: a document without its tag would be a poorer report.
"""

from collections.abc import Iterator, Mapping

import msgspec

from bridge.core.easee import roles
from bridge.core.events import ObservationsReceived
from bridge.core.records.observation import RawObservation
from bridge.core.topics import Topics

MAX_BATCH = 50
LEFT_OUT = frozenset({roles.SESSION_START, roles.SESSION_REPORT})


class _Document(msgspec.Struct, gc=False):
    """What is read of ``<base>/<id>/observation/<name>``."""

    id: int
    value: object
    measured_at: str
    source: str = "stream"


_DECODER = msgspec.json.Decoder(_Document)


def retained_observations(
    kept: Mapping[str, bytes], topics: Topics
) -> Iterator[ObservationsReceived]:
    """Yield the observations of retained documents; what is no document of ours is skipped.

    Args:
        kept: Payloads by topic.
        topics: The tree.
    """
    prefix = f"{topics.base}/"
    found: dict[str, list[RawObservation]] = {"stream": [], "poll": []}
    for topic, payload in kept.items():
        charger_id, kind, name = (*topic.removeprefix(prefix).split("/"), "", "", "")[:3]
        if not topic.startswith(prefix) or kind != "observation" or not name:
            continue
        try:
            document = _DECODER.decode(payload)
        except (ValueError, RecursionError):
            continue
        if document.id not in LEFT_OUT and document.value is not None and document.source in found:
            found[document.source].append(
                RawObservation(charger_id, document.id, None, document.value, document.measured_at)
            )
    for source, observations in found.items():
        for start in range(0, len(observations), MAX_BATCH):
            yield ObservationsReceived(tuple(observations[start : start + MAX_BATCH]), source)
