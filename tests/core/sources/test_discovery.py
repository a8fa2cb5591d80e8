"""Discovery: asks at once, again while setting up, then rarely, and never in a hurry."""

from datetime import timedelta

from bridge.core.records.moment import Timestamp
from bridge.core.sources.discovery import (
    EVERY_S,
    SETTING_UP_EVERY_S,
    SETTING_UP_S,
    ChargerDiscovery,
)
from tests.conftest import NOON


def at(seconds: float) -> Timestamp:
    """Build the moment so many seconds after noon."""
    return Timestamp(NOON + timedelta(seconds=seconds), seconds)


def test_the_list_is_asked_for_at_the_start():
    """The first question is due at once and is asked once."""
    discovery = ChargerDiscovery(())
    discovery.start(at(0))

    assert discovery.poll_due(at(0))
    assert not discovery.poll_due(at(1000))


def test_a_new_charger_is_noticed_within_a_minute_while_setting_up():
    """Young bridges ask every minute, older ones every five."""
    discovery = ChargerDiscovery(())
    discovery.start(at(0))
    discovery.poll_due(at(0))

    discovery.listed(("EH123456",), at(1))
    young = discovery.deadline_s()
    discovery.poll_due(at(SETTING_UP_S + 1))
    discovery.listed(("EH123456",), at(SETTING_UP_S + 1))
    old = discovery.deadline_s()

    assert young == 1 + SETTING_UP_EVERY_S
    assert old == SETTING_UP_S + 1 + EVERY_S


def test_configured_chargers_are_looked_for_rarely():
    """With configured serials the list only tells who left: every five minutes from the start."""
    discovery = ChargerDiscovery(("EH123456",))
    discovery.start(at(0))
    discovery.poll_due(at(0))

    assert discovery.listed(("EH123456", "EH999999"), at(1)) == ()
    assert discovery.deadline_s() == 1 + EVERY_S


def test_while_somebody_is_missed_the_list_is_asked_for_every_minute():
    """So that three lists tell within a few minutes, however old the bridge is."""
    discovery = ChargerDiscovery(())
    discovery.start(at(0))
    late = SETTING_UP_S + 100
    discovery.poll_due(at(late))
    discovery.listed(("EH123456",), at(late), is_doubtful=True)

    assert discovery.deadline_s() == late + SETTING_UP_EVERY_S


def test_other_configured_chargers_are_looked_for_at_once():
    """A reload asks now, and not in five minutes."""
    discovery = ChargerDiscovery(("EH123456",))
    discovery.start(at(0))
    discovery.poll_due(at(0))
    discovery.configure(("EH000000",), at(1))
    assert discovery.deadline_s() is None  # the answer that is awaited will do
    discovery.listed(("EH123456",), at(2))
    discovery.configure(("EH123456",), at(3))

    assert discovery.deadline_s() == 3


def test_a_configured_charger_that_is_not_listed_is_named_and_looked_for_again():
    """A typo in the configuration is told, and a charger shared later is found."""
    discovery = ChargerDiscovery(("EH123456", "EH000000"))
    discovery.start(at(0))
    discovery.poll_due(at(0))

    assert discovery.listed(("EH123456",), at(1)) == ("EH000000",)
    assert discovery.deadline_s() is not None


def test_failures_are_retried_ever_more_slowly_and_as_told():
    """Waits grow from 5 s to 5 min, and a longer Retry-After is obeyed."""
    discovery = ChargerDiscovery(())
    discovery.start(at(0))
    waits = []
    for _ in range(8):
        discovery.failed(at(0), None)
        waits.append(discovery.deadline_s())
    discovery.failed(at(0), 900.0)

    assert waits == [5, 10, 20, 40, 80, 160, 300, 300]
    assert discovery.deadline_s() == 900


def test_a_hint_brings_the_question_forward_but_does_not_repeat_one_under_way():
    """A hub that hints at a changed list makes us ask soon, once."""
    discovery = ChargerDiscovery(())
    discovery.start(at(0))
    discovery.poll_due(at(0))
    discovery.schedule_soon(at(1))
    assert discovery.deadline_s() is None

    discovery.listed((), at(2))
    discovery.schedule_soon(at(3))
    assert discovery.deadline_s() == 8
