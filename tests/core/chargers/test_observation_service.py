"""Observations are applied one after the other, and who waits for one is given it at once."""

import pytest

from bridge.core.alerts import Alerts
from bridge.core.changes import AvailabilityChanged, ChargerEvent, DerivedChanged, ValuesChanged
from bridge.core.chargers.fleet import ChargerRegistry
from bridge.core.chargers.observation_service import ObservationService, SessionDisplay
from bridge.core.domain_events import (
    HANDLED,
    NOTHING,
    AvailabilityDoubted,
    ChargersAdded,
    ChargersRemoved,
    CommandFinished,
    EqualizerValuesReceived,
    ObservationApplied,
    UnmatchedResponse,
)
from bridge.core.events import (
    ChargerResponse,
    ComponentFailed,
    MqttConnected,
    ObservationsReceived,
    ReportSaved,
    ReportSaveFailed,
    ReportsRead,
)
from bridge.core.messages import Publish, Tag
from bridge.core.records.moment import Timestamp
from bridge.core.records.observation import RawObservation
from bridge.core.status import Status
from bridge.core.topics import Topics
from bridge.core.value_format import iso_utc
from bridge.settings import PublishSettings
from tests.conftest import NOON
from tests.core.sessions.rows import ONE as ITS
from tests.core.sessions.rows import REPORT, row
from tests.native import as_messages

ONE, TWO, EQUALIZER = "EH123456", "EH654321", "QP123456"
NOW = Timestamp(NOON, 1000.0)
POWER, MODE = 120, 109


class Desk:
    """The service of two chargers, one id of which is followed."""

    def __init__(self):
        Topics()
        self.status = Status(Alerts(), "1", {})
        self.status.cloud.stream_up = True
        self.fleet = ChargerRegistry(PublishSettings(), b"salt", self.status)
        self.expected = False
        self.service = ObservationService(
            self.fleet,
            self.status,
            followed=frozenset({MODE}),
            expects=lambda *_: self.expected,
            equalizers=(EQUALIZER,),
        )
        self.take(ChargersAdded((ONE, TWO)))

    def take(self, event):
        return list(self.service.handle(event, NOW))


def raw(number, value, charger_id=ONE):
    """One observation."""
    return RawObservation(charger_id, number, None, value, iso_utc(NOON))


def test_values_of_an_event_that_nobody_follows_are_one_change():
    """In their order."""
    (changed,) = Desk().take(
        ObservationsReceived((raw(POWER, "1.5"), raw(POWER, "2.5", TWO)), "poll")
    )
    assert isinstance(changed, ValuesChanged)
    assert [(one.charger_id, one.value, one.source) for one in changed.values] == [
        (ONE, 1.5, "poll"),
        (TWO, 2.5, "poll"),
    ]


def test_who_follows_an_id_is_given_it_before_the_next_is_applied():
    """With what the charger shows by then."""
    desk = Desk()
    two = desk.fleet.chargers[TWO].state
    outputs = []
    for output in desk.service.handle(
        ObservationsReceived((raw(POWER, "1.5"), raw(MODE, "3"), raw(POWER, "2.5", TWO))), NOW
    ):
        if isinstance(output, ObservationApplied):
            outputs.append((output.observation.spec.id, two.value(POWER)))
        elif isinstance(output, ValuesChanged):
            outputs += [one.spec.id for one in output.values]
    assert outputs == [POWER, MODE, (MODE, None), POWER]


@pytest.mark.parametrize("number", [POWER, MODE])
def test_observations_of_other_devices_are_passed_on_together_or_counted(number):
    """Behind those of chargers; the hub goes on sending for chargers nobody asked for."""
    desk = Desk()
    of_equalizer = raw(40, "1.5", EQUALIZER), raw(41, "0", EQUALIZER)
    event = ObservationsReceived(
        (of_equalizer[0], raw(number, "3"), of_equalizer[1], raw(POWER, "1", "EH999999")), "poll"
    )
    *others, last = desk.take(event)
    assert isinstance(others[0], ValuesChanged)
    assert last == EqualizerValuesReceived(of_equalizer, "poll")
    assert desk.status.counters["observations_of_unknown_chargers"] == 1
    assert desk.status.counters["observations"] == 4
    assert desk.take(ObservationsReceived((raw(POWER, "1", "EH999999"),))) == []


@pytest.mark.parametrize("number", [POWER, MODE])
def test_an_error_in_one_costs_no_other(monkeypatch, number):
    """Whether it is followed or not; it is told as this component's."""
    desk = Desk()
    apply = ChargerRegistry.apply

    def broken(self, observation, *args, **facts):
        if observation.charger_id == ONE:
            raise RuntimeError
        apply(self, observation, *args, **facts)

    monkeypatch.setattr(ChargerRegistry, "apply", broken)
    outputs = desk.take(ObservationsReceived((raw(number, "1"), raw(POWER, "2.5", TWO))))
    (failed,) = [one for one in outputs if isinstance(one, ComponentFailed)]
    assert failed.name == "observations"
    (changed,) = [one for one in outputs if isinstance(one, ValuesChanged)]
    assert [one.value for one in changed.values] == [2.5]


def test_a_response_to_nobodys_command_is_announced_and_counted():
    """One of a charger that is not served is only counted."""
    desk = Desk()
    assert desk.take(ChargerResponse(ONE, 29, 636, True, None)) == []
    assert desk.take(ChargerResponse("EH111111", 29, 636, True, None)) == []
    (told,) = desk.take(UnmatchedResponse(ChargerResponse(ONE, 29, 636, True, None)))
    assert isinstance(told, ChargerEvent)
    assert desk.take(UnmatchedResponse(ChargerResponse("EH111111", 29, 636, True, None))) == []
    assert desk.status.counters["foreign_commands"] == 2
    assert desk.status.counters["responses_of_unknown_chargers"] == 1


@pytest.mark.parametrize(
    ("event", "is_shown"),
    [
        (CommandFinished(ONE, "smart_charging", False, is_carried_out=True), True),
        (CommandFinished(ONE, "smart_charging", False, is_carried_out=False), False),
        (CommandFinished(ONE, "pause", None, is_carried_out=True), False),
        (CommandFinished("EH111111", "smart_charging", False, is_carried_out=True), False),
    ],
)
def test_a_confirmed_setting_that_cannot_be_read_back_is_shown(event, is_shown):
    """Smart charging switched off makes the touch button dead."""
    shown = [DerivedChanged(ONE, "touch_button", "disabled")] * is_shown
    assert Desk().take(event) == shown


def test_who_is_available_is_looked_at_behind_events_that_touch_somebody():
    """And nobody is looked at behind the others."""
    desk = Desk()
    first = desk.take(HANDLED)
    assert sorted(one.charger_id for one in first) == [ONE, TWO]
    assert desk.service.handle(HANDLED, NOW) is NOTHING
    desk.take(ObservationsReceived((raw(MODE, "3"),)))
    assert desk.take(HANDLED) == [AvailabilityChanged(ONE, is_online=True)]
    assert desk.status.online == 1
    assert desk.service.deadline_s() is not None
    desk.take(ChargersRemoved((ONE,)))
    desk.take(HANDLED)
    assert (desk.status.online, tuple(desk.fleet.chargers)) == (0, (TWO,))


def test_a_clock_that_was_set_touches_everybody():
    """Also with nothing else that happened."""
    desk = Desk()
    desk.take(HANDLED)
    later = Timestamp(NOON.replace(hour=20), NOW.mono_s)
    assert desk.service.handle(HANDLED, later) is not NOTHING


def test_what_somebody_doubts_is_said_again():
    """For each charger in question; an Equalizer among them is not served here."""
    desk = Desk()
    desk.take(HANDLED)
    assert desk.take(AvailabilityDoubted((TWO, "QP000001", ONE))) == [
        AvailabilityChanged(TWO, is_online=False),
        AvailabilityChanged(ONE, is_online=False),
    ]


def test_a_new_connection_is_told_everything_that_can_be_shown(monkeypatch):
    """One charger that cannot be shown does not hide the others."""
    desk = Desk()
    desk.take(ObservationsReceived((raw(POWER, "1.5"), raw(POWER, "2.5", TWO))))
    kind = type(desk.fleet.chargers[ONE].state)
    original = kind.publications

    def publications(self, now):
        if self.charger_id == ONE:
            raise RuntimeError
        yield from original(self, now)

    monkeypatch.setattr(kind, "publications", publications)
    outputs = desk.take(MqttConnected(False, "5", 20))
    assert isinstance(outputs[0], ComponentFailed)
    (changed,) = [one for one in outputs if isinstance(one, ValuesChanged)]
    assert [one.charger_id for one in changed.values] == [TWO]


@pytest.mark.parametrize(
    ("event", "is_shown"),
    [
        (ReportSaved(row(1), True), True),
        (ReportSaveFailed(REPORT, None), True),
        (ReportsRead(Tag("sessions"), (row(1), row(2))), True),
        (ReportsRead(Tag("sessions"), ()), False),
    ],
)
def test_the_newest_session_is_shown_as_the_last_one(event, is_shown):
    """Whether it could be stored or not."""
    desk = Desk()
    desk.take(ChargersAdded((ITS,)))
    outputs = as_messages(SessionDisplay(desk.fleet).handle(event, NOW))
    topics = [one.topic for one in outputs if isinstance(one, Publish)]
    assert topics == [f"charger/{ITS}/session/last"] * is_shown
