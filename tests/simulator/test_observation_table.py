"""The simulator's table beside the gateway's registry: each difference has a reason here."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from types import MappingProxyType

import msgspec
import pytest

from bridge.core.easee import decode as observations
from bridge.core.easee import observation_spec
from bridge.core.easee.decode import decode
from bridge.core.easee.equalizer import EQUALIZER
from bridge.core.easee.observation_registry import REGISTRY
from bridge.core.easee.signalr import Decoder
from bridge.core.records.observation import RawObservation
from bridge.errors import DecodeError
from bridge.simulator.hub import SEPARATOR, product_update
from bridge.simulator.observation_table import (
    CHARGER_OBSERVATIONS,
    EQUALIZER_OBSERVATIONS,
    DataType,
)
from bridge.simulator.readings import Update
from bridge.simulator.scenario import Scenario
from bridge.simulator.world import World
from tests.simulator.lab import NOON

# (id, what differs, published, in the registry): why the registry says otherwise.
TEXT_HOLDS_ALL = "no type is published; a text holds whatever comes, and the message's type wins"
CHARGER_DIFFERENCES = {
    **{
        (number, "type", None, observation_spec.DataType.STRING): TEXT_HOLDS_ALL
        for number in (5, 6, 156, 157, 233, 234)
    },
    (
        241,
        "type",
        None,
        observation_spec.DataType.STRING,
    ): "no type is published; a MAC address is a text",
}
NO_UNIT = "no unit is published; what its name says is measured in it"
EQUALIZER_DIFFERENCES: dict[tuple[int, str, object, object], str] = {
    (2, "unit", None, "json"): "the same as a charger's",
    (20, "unit", None, "json"): "the same as a charger's",
    **{(number, "unit", None, "count"): "it counts" for number in (30, 64, 90, 92)},
    (120, "type", None, observation_spec.DataType.DOUBLE): "no type is published",
    (120, "unit", None, "A"): NO_UNIT,
}


def differences(
    published: Mapping[int, tuple[object, ...]], known: Mapping[int, tuple[object, ...]]
) -> Iterator[tuple[int, str, object, object]]:
    """Yield each id whose name, type or unit differ, and each that only one side has."""
    for number in sorted(published.keys() | known.keys()):
        if number not in published or number not in known:
            yield number, "id", number in published, number in known
            continue
        for what, left, right in zip(
            ("name", "type", "unit"), published[number], known[number], strict=False
        ):
            if left != right:
                yield number, what, left, right


def published_of_chargers() -> dict[int, tuple[object, ...]]:
    """Return name, type and unit by id, of the simulator's table."""
    return {one.id: (one.name, one.data_type, one.unit) for one in CHARGER_OBSERVATIONS.values()}


def known_of_chargers() -> dict[int, tuple[object, ...]]:
    """Return name, type and unit by id, of the gateway's registry."""
    return {one.id: (one.vendor_name, one.kind, one.unit) for one in REGISTRY.values()}


def test_both_spell_the_same_type_codes():
    """A type has one number on the wire, whichever side writes it."""
    assert {one.name: one.value for one in DataType} == {
        one.name: one.value for one in observation_spec.DataType
    }


def test_chargers_ids_names_types_and_units_are_those_of_the_registry():
    """The two tables differ where this file says why, and nowhere else."""
    found = set(differences(published_of_chargers(), known_of_chargers()))

    assert found == CHARGER_DIFFERENCES.keys()
    assert all(CHARGER_DIFFERENCES.values())


@pytest.mark.parametrize(
    ("number", "wrong", "what"),
    [
        (120, ("TotalPower", observation_spec.DataType.INTEGER, "kW"), "type"),
        (120, ("TotalPower", observation_spec.DataType.DOUBLE, "W"), "unit"),
        (120, ("TotalPowers", observation_spec.DataType.DOUBLE, "kW"), "name"),
        (158, ("TotalPower", observation_spec.DataType.DOUBLE, "kW"), "id"),
        (5, ("DebugLog", observation_spec.DataType.INTEGER, None), "type"),
    ],
)
def test_a_wrong_row_is_a_difference_without_a_reason(number, wrong, what):
    """One wrong type, unit, name or id in the registry is found, also where one is excused."""
    found = set(differences(published_of_chargers(), {**known_of_chargers(), number: wrong}))

    assert [(one[0], one[1]) for one in found - CHARGER_DIFFERENCES.keys()] == [(number, what)]


def test_equalizers_ids_names_types_and_units_are_those_of_the_gateway():
    """The two tables differ where this file says why, and nowhere else."""
    published = {
        one.id: (one.name, one.data_type, one.unit) for one in EQUALIZER_OBSERVATIONS.values()
    }
    known = {one.id: (one.vendor_name, one.kind, one.unit) for one in EQUALIZER.values()}

    assert set(differences(published, known)) == EQUALIZER_DIFFERENCES.keys()
    assert all(EQUALIZER_DIFFERENCES.values())
    assert len(published) == 73


# -- through decoding: what the simulator sends, by the type in the message and by the registry's


@pytest.fixture(scope="module")
def received() -> tuple[RawObservation, ...]:
    """What three chargers have said and say in twelve hours, as the hub decoder hands it over."""
    world = World(Scenario(chargers=3, equalizers=0), NOON)
    updates = [
        Update(charger.id, number, reading)
        for charger in world.chargers.values()
        for number, reading in charger.readings.items()
    ]
    for minute in range(1, 12 * 60):
        world.step(NOON + timedelta(minutes=minute))
        updates += [one for one in world.drain() if isinstance(one, Update)]
    decoder = Decoder()
    decoder.feed("{}" + SEPARATOR)
    messages = decoder.feed("".join(map(product_update, updates)))
    return tuple(one for one in messages if isinstance(one, RawObservation))


def misread(received: tuple[RawObservation, ...]) -> set[int]:
    """Return the ids that the registry's type reads otherwise than the type in the message."""
    return {
        raw.id
        for raw in received
        if REGISTRY[raw.id].vendor_name
        and read(raw) != read(msgspec.structs.replace(raw, data_type=None))
    }


def read(raw: RawObservation) -> tuple[type, object]:
    """Return the decoded value with its Python type, for which 1 and True are not the same."""
    try:
        value = decode(raw).value
    except DecodeError as exc:
        return DecodeError, exc.reason
    return type(value), value


def test_everything_is_read_by_the_registry_as_it_was_sent(received):
    """A message without a type gives the same value as one with the type it was sent with."""
    assert len(received) > 1000
    assert len({raw.id for raw in received}) > 100
    assert not misread(received)


@pytest.mark.parametrize(
    ("number", "wrong"),
    [
        (36, observation_spec.DataType.DOUBLE),
        (100, observation_spec.DataType.INTEGER),
        (103, observation_spec.DataType.INTEGER),
        (109, observation_spec.DataType.STRING),
        (120, observation_spec.DataType.INTEGER),
        (124, observation_spec.DataType.BOOLEAN),
    ],
)
def test_a_wrong_type_in_the_registry_is_misread(monkeypatch, received, number, wrong):
    """One wrong type in the registry alone, and what the simulator sends is not read as sent."""
    spoilt = {**REGISTRY, number: replace(REGISTRY[number], kind=wrong)}
    monkeypatch.setattr(observations, "REGISTRY", MappingProxyType(spoilt))

    assert misread(received) == {number}
