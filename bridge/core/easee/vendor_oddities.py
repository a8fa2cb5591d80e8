"""What is odd about an observation by what the program knows: its id, its type, its code."""

from collections.abc import Iterable, Iterator

from bridge.core.easee.equalizer import EQUALIZER
from bridge.core.easee.observation_registry import REGISTRY
from bridge.core.records.observation import RawObservation

# Ids and types of which no value is odd.
Fine = set[tuple[int, int | None]]


def oddities(observations: Iterable[RawObservation], fine: Fine) -> Iterator[tuple[str, str]]:
    """Yield a key and a sentence for each observation that is odd.

    Args:
        observations: As they arrived, of chargers and Equalizers, whose ids overlap.
        fine: Remembers what need not be looked at again.
    """
    for one in observations:
        number, kind = one.id, one.data_type
        if (number, kind) in fine:
            continue
        specs = [each[number] for each in (REGISTRY, EQUALIZER) if number in each]
        # Of a row without a name nothing is known but the id.
        fitting = [spec for spec in specs if kind in (None, spec.kind) or not spec.vendor_name]
        if not specs:
            yield f"observation {number}", f"observation {number} is unknown"
        elif not fitting:
            what = f"observation {number} ({specs[0].name})"
            sentence = f"{what} has type {kind} instead of {specs[0].kind:d}"
            yield f"type {number} {kind}", sentence
        elif not all(spec.labels for spec in fitting):
            fine.add((number, kind))
        elif (code := _code(one.value)) is not None and not any(
            code in spec.labels or str(code) in spec.labels for spec in fitting
        ):
            what = f"observation {number} ({fitting[0].name})"
            yield f"code {number} {code}", f"{what} has the unknown code {code}"


def _code(value: object) -> int | None:
    """Return a code; None for what is no whole number, which is judged elsewhere."""
    try:
        return int(str(value))
    except ValueError:
        return None
