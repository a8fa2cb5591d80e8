"""Total energy of one charger: the meter's last reading, and power over time since.

Rules:

1. A reading is observation 124, the meter at the start of a session (223) or at its end (129). The
   newest by its own time counts; power after it is added to it.
2. Power (120) is sent on change: a value holds until the next one. It holds no longer than
   :data:`HOLD_S` after the last sign of life; what is missing then is added by the next reading.
3. The published value never falls. A reading above it corrects it at once; while it is above the
   estimate it stays until the meter has caught up, so that nothing is counted twice.
4. The power of an earlier process is not added before this one was told a power, which may have
   changed meanwhile, or waited :data:`POWER_WITHIN_S` for it.
5. A reading that no charger could have reached is ignored until a second one confirms it. One far
   below belongs to another meter, whose energy is added to what was counted before.
"""

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

import msgspec

from bridge.core.changes import DerivedChanged, Estimate
from bridge.core.easee import roles
from bridge.core.easee.decode import Observation
from bridge.core.easee.derived_state import CHARGING, ENERGY_TOTAL, OFFLINE
from bridge.core.records.session_report import SessionReport, SessionStart

# As long as a charger without a sign of life counts as online.
HOLD_S: Final = 20 * 60.0
S_PER_HOUR: Final = 3600.0
# The hub sends the newest values again within seconds of a subscription.
POWER_WITHIN_S: Final = 60.0
# Estimates are published in whole Wh.
WH_PER_KWH: Final = 1000
# No charger delivers more. The spare is for a simulated one that is faster than the clock.
MAX_KW: Final = 50.0
SPARE_KWH: Final = 500.0
# Below the last reading by more than estimates and rounding differ: the meter is another one.
OTHER_METER_KWH: Final = 10.0
MAX_SAMPLES: Final = 64
METERED_IDS: Final = frozenset({roles.POWER, roles.METER_READING})


class _Sample(msgspec.Struct, gc=False):
    """Power from a moment on, in epoch seconds.

    Attributes:
        at_s: From when it holds.
        kw: The power.
        until_s: How long it can be relied on unless another one follows.
        is_told: The charger told it; otherwise an earlier process added it up.
    """

    at_s: float
    kw: float
    until_s: float
    is_told: bool = True


class _Reading(msgspec.Struct, gc=False, frozen=True):
    """A reading of the meter, or an estimate of an earlier process in place of one."""

    at_s: float
    kwh: float
    is_measured: bool = True

    @property
    def oldest_s(self) -> float:
        """The stamp below which another reading is older; stamps of sessions have whole seconds."""
        return self.at_s if self.is_measured else math.floor(self.at_s)


class Basis(msgspec.Struct, gc=False, frozen=True):
    """What an earlier process published, and what it went on from.

    Attributes:
        at: When the value held, UTC.
        kwh: The value.
        kw: The power then.
        floor_kwh: No less is published.
    """

    at: datetime
    kwh: float
    kw: float
    floor_kwh: float


class EnergyTotal:
    """The total energy of one charger.

    Attributes:
        published_kwh: The value published last; None before the first.
        kw: The power that is added up now.
    """

    def __init__(self, charger_id: str) -> None:
        self._charger_id = charger_id
        self._reading: _Reading | None = None
        self._doubted: _Reading | None = None
        # Added to readings of a meter that replaced another one.
        self._before_kwh = 0.0
        self._samples: list[_Sample] = []
        self._power_kw = 0.0
        self._is_charging = True
        self._is_open = False
        self._shown: Estimate | None = None
        self._is_power_told = False
        self._waits_until_s: float | None = None
        self.published_kwh: float | None = None

    @property
    def kw(self) -> float:
        """Return the power that is added up now."""
        return self._power_kw if self._is_charging else 0.0

    # -- what is measured ---------------------------------------------------------------------

    def power(self, observation: Observation, heard_at: datetime) -> None:
        """Handle the newest power (120).

        Args:
            observation: It.
            heard_at: The newest measurement of this charger.
        """
        value = observation.value
        is_number = isinstance(value, float | int) and not isinstance(value, bool)
        self._power_kw = max(0.0, min(float(value), MAX_KW)) if is_number else 0.0
        self._is_power_told = True
        self._sample(observation.measured_at.timestamp(), heard_at.timestamp(), is_power=True)

    def op_mode(self, observation: Observation, heard_at: datetime) -> None:
        """Handle the newest op mode (109): only a charging one takes power, and an unknown one."""
        value = observation.value
        self._is_charging = value in (CHARGING, OFFLINE) or not isinstance(value, int)
        self._is_power_told = self._is_power_told or not self._is_charging
        self._sample(observation.measured_at.timestamp(), heard_at.timestamp(), is_power=False)

    def meter(self, observation: Observation, received_at: datetime) -> Iterator[DerivedChanged]:
        """Handle the newest meter reading (124)."""
        value = observation.value
        if isinstance(value, float | int) and not isinstance(value, bool):
            yield from self.read(float(value), observation.measured_at, received_at)

    def read(
        self, kwh: float | None, at: datetime, received_at: datetime
    ) -> Iterator[DerivedChanged]:
        """Handle a reading of the meter.

        Args:
            kwh: As the charger told it; None where it cannot be read.
            at: When it was measured.
            received_at: When it arrived.
        """
        if kwh is None or not 0 <= kwh < math.inf:
            return
        reading = _Reading(at.timestamp(), kwh + self._before_kwh)
        before = self._reading
        if before is not None and reading.at_s < before.oldest_s:
            return
        if before is not None and not self._is_plausible(reading, before):
            return
        if before is not None and reading.kwh < before.kwh - OTHER_METER_KWH:
            self._before_kwh += self._estimate(reading.at_s) - reading.kwh
            reading = _Reading(reading.at_s, kwh + self._before_kwh)
        if before is None or reading.kwh >= before.kwh or not before.is_measured:
            self._reading = reading
            self._doubted = None
            self._forget_samples()
        if self._is_open and reading.kwh >= (self.published_kwh or 0.0):
            estimate = Estimate(at, received_at, is_estimated=False, kw=self.kw)
            yield from self._show(reading.kwh, estimate)

    def session_started(
        self, start: SessionStart, received_at: datetime
    ) -> Iterator[DerivedChanged]:
        """Handle the meter at the start of a session (223)."""
        if not start.doubtful:
            yield from self.read(start.meter_start_kwh, start.started_at, received_at)

    def session_ended(self, report: SessionReport) -> Iterator[DerivedChanged]:
        """Handle the meter at the end of a session (129)."""
        if not report.doubtful:
            yield from self.read(report.meter_stop_kwh, report.ended_at, report.received_at)

    def resume(self, basis: Basis) -> None:
        """Continue from what an earlier process published."""
        at_s = basis.at.timestamp()
        floor_kwh = max(basis.kwh, basis.floor_kwh)
        if self.published_kwh is None or self.published_kwh < floor_kwh:
            self.published_kwh = floor_kwh
        if self._reading is not None and self._reading.at_s >= at_s:
            return
        self._reading = _Reading(at_s, basis.kwh, is_measured=False)
        later = [sample for sample in self._samples if sample.at_s > at_s]
        # Sent on change: power measured before holds, and tells better than the estimate's.
        earlier = [sample for sample in self._samples if sample.at_s <= at_s and sample.is_told]
        if earlier:
            self._samples = [earlier[-1], *later]
        else:
            self._samples = [_Sample(at_s, basis.kw, at_s + HOLD_S, is_told=False), *later]
        if not self._is_power_told:
            self._power_kw = basis.kw

    def forget_floor(self) -> None:
        """Forget what was kept as the lowest value: the broker tells the exact one."""
        if self._shown is None:
            self.published_kwh = None

    # -- what is published --------------------------------------------------------------------

    def open(self) -> None:
        """Allow publications: what earlier processes published is known."""
        self._is_open = True

    @property
    def is_open(self) -> bool:
        """Return whether publications are allowed."""
        return self._is_open

    def tick(self, now: datetime, heard_at: datetime) -> Iterator[DerivedChanged]:
        """Publish what was added by now.

        Args:
            now: The time.
            heard_at: The newest measurement of this charger.
        """
        if self._reading is None or not self._is_open:
            return
        at_s, reading = now.timestamp(), self._reading
        self._extend(min(heard_at.timestamp(), at_s))
        kwh = math.floor(self._estimate(at_s) * WH_PER_KWH) / WH_PER_KWH
        floor_kwh = self.published_kwh or 0.0
        if kwh > max(floor_kwh, reading.kwh) and self._knows_power(at_s):
            yield from self._show(kwh, Estimate(now, now, is_estimated=True, kw=self.kw))
        elif self._shown is None:
            is_estimated = floor_kwh > reading.kwh or not reading.is_measured
            at = now if is_estimated else datetime.fromtimestamp(reading.at_s, UTC)
            estimate = Estimate(at, now, is_estimated=is_estimated, kw=self.kw)
            yield from self._show(max(floor_kwh, reading.kwh), estimate)
        elif self._shown.kw > 0 and self.kw == 0:  # the next process must not add it
            shown = self._shown
            again = Estimate(shown.measured_at, now, is_estimated=shown.is_estimated, kw=0.0)
            yield from self._show(floor_kwh, again)

    def basis(self) -> Basis | None:
        """Return what the next process has to continue from; None before the first value."""
        if self._shown is None or self.published_kwh is None:
            return None
        kwh = self.published_kwh
        return Basis(self._shown.measured_at, kwh, self.kw, kwh)

    def publications(self) -> Iterator[DerivedChanged]:
        """Yield the value again, as it was published."""
        if self._shown is not None and self.published_kwh is not None:
            kwh = self.published_kwh
            value = int(kwh) if kwh.is_integer() else kwh
            yield DerivedChanged(self._charger_id, ENERGY_TOTAL, value, self._shown)

    def _show(self, kwh: float, estimate: Estimate) -> Iterator[DerivedChanged]:
        self.published_kwh = kwh
        self._shown = estimate
        yield from self.publications()

    def _knows_power(self, at_s: float) -> bool:
        """Return whether the power is this process's own, or was waited for long enough."""
        if self._waits_until_s is None:
            self._waits_until_s = at_s + POWER_WITHIN_S
        return self._is_power_told or at_s >= self._waits_until_s

    # -- the model ----------------------------------------------------------------------------

    def _is_plausible(self, reading: _Reading, before: _Reading) -> bool:
        """Return whether the same meter can have got there; a second reading confirms another."""
        if _fits(reading, before):
            return True
        if self._doubted is not None and _fits(reading, self._doubted):
            return True
        self._doubted = reading
        return False

    def _sample(self, at_s: float, heard_s: float, *, is_power: bool) -> None:
        """Record the power that holds from now on."""
        until_s = max(at_s, heard_s) + HOLD_S
        kilowatts = self._power_kw if self._is_charging else 0.0
        last = self._samples[-1] if self._samples else None
        is_later = last is None or at_s > last.at_s
        if last is None or (is_later and (last.kw != kilowatts or at_s > last.until_s)):
            self._samples.append(_Sample(at_s, kilowatts, until_s))
            if len(self._samples) > MAX_SAMPLES:
                self._thin()
            return
        # Told again with the stamp it had: it did not change meanwhile, however long that was.
        last.kw, last.is_told = kilowatts, True
        if is_power:
            last.until_s = max(last.until_s, until_s)

    def _extend(self, heard_s: float) -> None:
        """Extend how long the last power holds, unless it was silent for too long meanwhile."""
        last = self._samples[-1] if self._samples else None
        if last is not None and heard_s <= last.until_s:
            last.until_s = max(last.until_s, heard_s + HOLD_S)

    def _estimate(self, at_s: float) -> float:
        """Return the meter at a moment after the last reading."""
        reading = self._reading
        assert reading is not None  # noqa: S101 - every caller has one
        return reading.kwh + self._added(reading.at_s, at_s)

    def _added(self, from_s: float, to_s: float) -> float:
        """Return the energy between two moments, in kWh."""
        total = 0.0
        for index, sample in enumerate(self._samples):
            is_last = index + 1 == len(self._samples)
            end_s = sample.until_s
            if not is_last:
                end_s = min(end_s, self._samples[index + 1].at_s)
            seconds = min(end_s, to_s) - max(sample.at_s, from_s)
            if seconds > 0:
                total += sample.kw * seconds / S_PER_HOUR
        return total

    def _forget_samples(self) -> None:
        """Forget power from before the last reading."""
        reading = self._reading
        while (
            reading is not None and len(self._samples) > 1 and self._samples[1].at_s <= reading.at_s
        ):
            del self._samples[0]

    def _thin(self) -> None:
        """Replace the two oldest samples by one of the same energy."""
        from_s, to_s = self._samples[0].at_s, self._samples[2].at_s
        kilowatts = self._added(from_s, to_s) * S_PER_HOUR / (to_s - from_s)
        self._samples[:2] = [_Sample(from_s, kilowatts, to_s)]


def _fits(reading: _Reading, before: _Reading) -> bool:
    hours = max(0.0, reading.at_s - before.at_s) / S_PER_HOUR
    lowest_kwh, highest_kwh = before.kwh - OTHER_METER_KWH, before.kwh + MAX_KW * hours + SPARE_KWH
    return lowest_kwh <= reading.kwh <= highest_kwh
