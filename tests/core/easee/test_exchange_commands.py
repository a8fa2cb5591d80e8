"""Which commands the exchange carries, and what names them."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from bridge.core.easee.command_catalogue import CATALOGUE, CommandTarget, action
from bridge.core.easee.command_payloads import Current, Release
from bridge.core.easee.exchange_commands import ExchangeCommand, named
from bridge.errors import CommandRefused
from tests.conftest import NOON

ONE = "EH123456"
# A command of the exchange, by the payload it was made of.
CARRIED = {
    ("reboot", "PRESS"): ExchangeCommand(ONE, 1),
    ("update_firmware", "PRESS"): ExchangeCommand(ONE, 4),
    ("override_schedule", "PRESS"): ExchangeCommand(ONE, 63),
    ("dynamic_charger_current", 16): ExchangeCommand(ONE, 48, ((1, "16"), (2, "0"))),
}
# A payload that each kind of row takes, to have its request.
PAYLOADS = ("PRESS", True, 16, 1, "auto", "open", "always")


def exchange_of(name, value):
    """Return what a row names for the exchange, or None."""
    spec = CATALOGUE[name]
    request = spec.request(CommandTarget(ONE, 7, 9), spec.read(value, 32))
    return None if request is None else request.exchange


def test_only_commands_whose_arguments_are_documented_are_carried():
    """Everything else goes over REST; a row that names one is in this table."""
    for (name, value), command in CARRIED.items():
        assert exchange_of(name, value) == command

    names = {name for name, _ in CARRIED}
    for name in CATALOGUE.keys() - names:
        for value in PAYLOADS:
            try:
                found = exchange_of(name, value)
            except CommandRefused:
                continue
            assert found is None, name


def test_a_limit_has_its_minutes_and_a_release_is_nothing_to_send():
    """Amperes and minutes are two arguments."""
    request = CATALOGUE["dynamic_charger_current"].request

    assert request(CommandTarget(ONE), Current(6, 30)).exchange.arguments == ((1, "6"), (2, "30"))
    assert request(CommandTarget(ONE), Release()) is None


def test_a_button_of_the_exchange_has_its_response_id():
    """The number of the command is the one that its response carries."""
    row = action("x", "control", "", "x", (7,), is_on_exchange=True)

    assert row.request(CommandTarget(ONE), None).exchange == ExchangeCommand(ONE, 7)


@given(
    at=st.timedeltas(timedelta(0), timedelta(days=30_000)).map(lambda after: NOON + after),
    seq=st.integers(0, 10**9),
    left_s=st.floats(0, 600),
)
def test_ticks_and_expiry_follow_from_the_time_alone(at, seq, left_s):
    """Ticks are those of .NET, of this microsecond; the expiry is never behind the command's."""
    command = named(ExchangeCommand(ONE, 48), at, seq, left_s)

    since = datetime(1, 1, 1, tzinfo=UTC) + timedelta(microseconds=command.ticks // 10)
    assert since == at
    assert command.ticks % 10 == seq % 10
    assert abs((command.expires_at - at).total_seconds() - left_s) < 1e-5
    assert command.ticks > 2**53
