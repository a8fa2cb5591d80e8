"""The oracle: what was accepted, what arrived, and what does not fit.

A producer tells it what it issued and what was accepted, a consumer what arrived, the tormentor
which faults it really caused. It knows nothing of how the bridge works.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

LIVE_TIMEOUT_S = 30.0
# What may differ between two deliveries of one revision: nothing. What a producer knows: these.
KNOWN = ("charger_id", "session_id", "started_at", "ended_at", "energy_kwh", "auth_reason")


@dataclass
class Oracle:
    """Everything that was said, and the checks over it.

    Attributes:
        issued: Content by key, as the producer made it.
        accepted: Highest revision that was committed, by key.
        arrived: Content by key and revision, as it first arrived.
        faults: How often which fault was really caused.
        repeats: How many deliveries brought nothing new.
    """

    issued: dict[str, Mapping[str, object]] = field(default_factory=dict)
    accepted: dict[str, int] = field(default_factory=dict)
    arrived: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    faults: Counter[str] = field(default_factory=Counter)
    repeats: int = 0
    _problems: list[str] = field(default_factory=list)
    _live_after_s: float | None = None

    def issue(self, key: str, **content: object) -> None:
        """Note that the producer made a report."""
        self.issued[key] = content

    def accept(self, key: str, revision: int = 1) -> None:
        """Note that the bridge said it has it."""
        self.accepted[key] = max(revision, self.accepted.get(key, 0))

    def deliver(self, payload: bytes) -> None:
        """Note what a consumer received on ``session/report``."""
        document = json.loads(payload)
        key, revision = document["key"], document["revision"]
        if key not in self.issued:
            self._problems.append(f"{key} was never issued")
        elif wrong := [
            name
            for name, value in self.issued[key].items()
            if name in KNOWN and document[name] != value
        ]:
            self._problems.append(f"{key}: {', '.join(wrong)} differ from what was issued")
        first = self.arrived.setdefault((key, revision), document)
        if first is not document:
            self.repeats += 1
            if first != document:
                self._problems.append(f"{key} revision {revision} came with two contents")

    def live(self, after_s: float) -> None:
        """Note how long after the last fault something fresh went through."""
        self._live_after_s = after_s

    @property
    def missing(self) -> list[str]:
        """What was accepted and has not arrived in that revision or a later one."""
        newest: dict[str, int] = {}
        for key, revision in self.arrived:
            newest[key] = max(revision, newest.get(key, 0))
        return [k for k, revision in self.accepted.items() if newest.get(k, 0) < revision]

    def problems(self, **wanted: int) -> list[str]:
        """Check everything.

        Args:
            wanted: How often each fault must have been caused, or the run says nothing.
        """
        found = [*self._problems, *(f"{key} was accepted and lost" for key in self.missing)]
        if self._live_after_s is None or self._live_after_s > LIVE_TIMEOUT_S:
            found.append(f"not live again within {LIVE_TIMEOUT_S:g} s: {self._live_after_s}")
        found += [
            f"only {self.faults[kind]} of {count} faults of kind {kind}"
            for kind, count in wanted.items()
            if self.faults[kind] < count
        ]
        if not self.accepted:
            found.append("nothing was accepted: the run says nothing")
        return found

    def summary(self, seconds: float) -> str:
        """Say in one line what happened."""
        faults = ", ".join(f"{count} {kind}" for kind, count in sorted(self.faults.items()))
        return (
            f"{faults}; {len(self.accepted)} reports accepted, {len(self.missing)} lost,"
            f" {self.repeats} repeats of {len(self.arrived)} deliveries, in {seconds:.0f} s"
        )
