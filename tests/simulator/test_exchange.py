"""Commands of the partner's exchange, as the simulated cloud takes them."""

import json
from datetime import timedelta

import pytest

from bridge.simulator.exchange import Order, by_number, read_order
from bridge.simulator.scenario import Scenario
from bridge.simulator.world import World
from tests.conftest import NOON

ONE = "EH000001"
AMPS = [{"Id": 1, "Value": "10"}, {"Id": 2, "Value": "0"}]


def body(number=48, arguments=AMPS, until="2026-11-22T12:01:00Z"):
    """Make the body of a command."""
    return json.dumps({"Id": number, "ExpiresAt": until, "Arguments": arguments}).encode()


def test_a_command_is_read_from_key_and_body():
    """Arguments have the names of the REST command that does the same."""
    order = read_order(f"{ONE}.C.48.638", body())

    assert order == Order(ONE, 48, 638, {"amps": 10, "minutes": 0}, NOON + timedelta(minutes=1))
    assert by_number(order).command_id == 48


@pytest.mark.parametrize(
    ("key", "content"),
    [
        (f"{ONE}.O.48", body()),
        (f"{ONE}.C.x.638", body()),
        (f"{ONE}.C.47.638", body()),
        (f"{ONE}.C.48.638", b"{"),
        (f"{ONE}.C.48.638", b"[]"),
        (f"{ONE}.C.48.638", body(until="later")),
    ],
)
def test_anything_else_is_no_command(key, content):
    """It is dropped: a simulated cloud ends for nothing that it is sent."""
    assert read_order(key, content) is None


def happened(*orders, later_s=1.0, online=True):
    """Give orders to a world; return what its charger said and the current it shows."""
    world = World(Scenario(chargers=1, traffic=False), NOON)
    if not online:
        world.chargers[ONE].go_offline()
    for order in orders:
        world.from_exchange(order)
    world.drain()
    world.step(NOON + timedelta(seconds=later_s))
    said = [each for each in world.drain() if hasattr(each, "ticks")]
    return said, world.chargers[ONE].number(48)


def test_a_command_is_carried_out_once_and_answered_with_its_ticks():
    """Delivered twice it is the same one."""
    order = read_order(f"{ONE}.C.48.638", body())
    ((response,), amps) = happened(order, order)

    assert (response.ticks, response.command_id, response.accepted, amps) == (638, 48, True, 10)


@pytest.mark.parametrize(
    "order",
    [
        read_order(f"{ONE}.C.48.638", body(until="2026-11-22T11:59:59Z")),
        read_order("EH999999.C.48.638", body()),
    ],
)
def test_what_came_late_or_for_another_is_not_carried_out(order):
    """Nobody answers."""
    said, amps = happened(order)

    assert said == []
    assert amps != 10


@pytest.mark.parametrize(("number", "arguments"), [(99, []), (48, [{"Id": 1, "Value": "99"}])])
def test_what_cannot_be_carried_out_is_refused(number, arguments):
    """A number that is not known, or a current beyond all."""
    ((response,), _) = happened(read_order(f"{ONE}.C.{number}.638", body(number, arguments)))

    assert response.accepted is False
