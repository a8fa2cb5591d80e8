"""Values of an Equalizer: the newest of each, at most once in the interval."""

from datetime import timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from bridge.core.changes import AvailabilityChanged, DerivedChanged, ValueChanged, ValuesChanged
from bridge.core.chargers.equalizer_state import EqualizerState
from bridge.core.easee.decode import decode
from bridge.core.easee.equalizer import EQUALIZER, equalizer_spec_of
from bridge.core.records.moment import Timestamp
from bridge.core.records.observation import RawObservation
from bridge.core.subjects import Subject
from bridge.core.value_format import iso_utc
from bridge.settings import PublishSettings
from tests.conftest import NOON

POWER, READING, LINK, SSID, STRUCTURE = 40, 45, 250, 51, 20
SERIAL = "QP123456"


class Meter:
    """One Equalizer on simulated time."""

    def __init__(self, **publish):
        self.state = EqualizerState(SERIAL, PublishSettings(**publish), b"salt")
        self.seconds = 0.0

    @property
    def now(self):
        return Timestamp(NOON + timedelta(seconds=self.seconds), 1000.0 + self.seconds)

    def say(self, *pairs):
        """Have it send values now; return those that are published."""
        found = []
        for number, value in pairs:
            stamp = iso_utc(NOON + timedelta(seconds=self.seconds))
            raw = RawObservation(SERIAL, number, None, value, stamp)
            observation = decode(raw, EQUALIZER, equalizer_spec_of)
            self.state.apply(observation, "stream", self.now, found)
        return shown(self.state.paced(found, self.now))

    def due(self):
        return shown(self.state.due(self.now))


def shown(outputs):
    """Id and value of the changes among some outputs."""
    return [(one.spec.id, one.value) for one in outputs if isinstance(one, ValueChanged)]


def test_the_first_value_of_an_observation_is_published_at_once_and_the_others_are_paced():
    """Within the interval the newest is held, energy readings too."""
    meter = Meter()
    assert meter.say((POWER, 1.0), (READING, 10.0)) == [(POWER, 1), (READING, 10)]
    meter.seconds = 1.0
    assert meter.say((POWER, 2.0)) == [(POWER, 2)]
    meter.seconds = 3.0
    assert meter.say((POWER, 3.0), (READING, 10.1)) == []
    meter.seconds = 5.0
    assert meter.say((POWER, 4.0)) == []
    assert meter.state.tick_s() == 1006.0
    meter.seconds = 6.0
    assert meter.due() == [(POWER, 4), (READING, 10.1)]
    assert meter.due() == []


def test_without_an_interval_everything_is_published():
    """Each value, when it arrives."""
    meter = Meter(equalizer_interval_s=0)
    meter.say((POWER, 1.0))
    assert [meter.say((POWER, value)) for value in (2.0, 3.0)] == [[(POWER, 2)], [(POWER, 3)]]


def test_a_value_that_changed_and_changed_back_is_still_new():
    """Its bare topic was never told otherwise than by the newest."""
    meter = Meter()
    meter.say((POWER, 1.0))
    meter.seconds = 1.0
    meter.say((POWER, 2.0))
    meter.seconds = 2.0
    meter.say((POWER, 5.0))
    meter.seconds = 3.0
    meter.say((POWER, 5.0))
    meter.seconds = 7.0
    (change,) = meter.state.due(meter.now)
    assert (change.value, change.is_new) == (5, True)


def test_after_the_broker_lost_its_memory_everything_retained_is_published_once():
    """What was held is part of it; personal data is not."""
    meter = Meter()
    meter.say((POWER, 1.0), (SSID, "Home"))
    meter.seconds = 1.0
    meter.say((POWER, 2.0))
    meter.seconds = 2.0
    meter.say((POWER, 3.0))
    (values,) = (
        one for one in meter.state.publications(meter.now) if isinstance(one, ValuesChanged)
    )
    assert shown(values.values) == [(POWER, 3)]
    meter.seconds = 10.0
    assert meter.due() == []


def test_personal_data_is_hashed():
    """Unless the operator says otherwise."""
    ((_, value),) = Meter().say((SSID, "Home"))
    assert value.startswith("sha256:")
    assert Meter(personal_data=True).say((SSID, "Home")) == [(SSID, "Home")]


def test_it_is_available_while_it_is_heard_and_the_cloud_has_its_link():
    """Twenty minutes of silence end that, and so does the cloud's word."""
    meter = Meter()
    meter.say((POWER, 1.0), (109, 0))

    def availability(link_ok=True):
        return list(meter.state.availability(link_ok, meter.now))

    assert availability() == [AvailabilityChanged(SERIAL, True)]
    assert meter.state.tick_s() == 1000.0 + 1200.0
    assert availability(link_ok=False) == [AvailabilityChanged(SERIAL, False)]
    assert availability() == [AvailabilityChanged(SERIAL, True)]
    meter.say((LINK, "0"))
    assert availability() == [AvailabilityChanged(SERIAL, False)]
    meter.seconds = 10.0
    meter.say((LINK, "1"), (POWER, 2.0))
    assert availability() == [AvailabilityChanged(SERIAL, True)]
    meter.seconds = 1210.0
    assert availability() == [AvailabilityChanged(SERIAL, False)]


@given(
    st.lists(
        st.tuples(st.floats(0.0, 4.0), st.sampled_from([POWER, READING]), st.integers(0, 9)),
        min_size=1,
    ),
    st.integers(0, 10),
)
def test_what_is_published_ends_with_the_newest_and_never_comes_more_often(steps, interval_s):
    """For any values at any times: batches are an interval apart, and the last word is the last."""
    meter = Meter(equalizer_interval_s=interval_s)
    newest, told, batches = {}, {}, []
    for wait_s, number, value in steps:
        meter.seconds += wait_s
        is_first = number not in newest
        newest[number] = value
        published = meter.say((number, value))
        told |= dict(published)
        if published and not is_first:
            batches.append(meter.seconds)
    meter.seconds += interval_s
    told |= dict(meter.due())
    assert told == newest
    assert all(later - earlier >= interval_s for earlier, later in pairwise(batches))


def test_a_held_change_keeps_its_facts():
    """Only that it is new is different."""
    change = ValueChanged(SERIAL, EQUALIZER[POWER], 1.5, NOON, NOON, "poll", False, "s")
    meter = Meter()
    meter.say((POWER, 1.0))
    list(meter.state.paced([replace_new(change)], meter.now))
    meter.seconds = 1.0
    held = [*meter.state.paced([replace_new(change), change], meter.now)]
    meter.seconds = 6.0
    held += meter.state.due(meter.now)
    assert held[-1] == replace_new(change)


def replace_new(change):
    """The same change, of a value that differs from the one before."""
    return ValueChanged(
        change.charger_id, change.spec, change.value, change.measured_at, change.received_at,
        change.source, True, change.stamp,
    )  # fmt: skip


def test_its_settings_are_derived_and_published_again():
    """They are not held back, and a text that is personal is not part of them."""
    meter = Meter()
    raw = RawObservation(SERIAL, STRUCTURE, None, '{"maxAllocatedCurrent":25}', iso_utc(NOON))
    found = []
    observation = decode(raw, EQUALIZER, equalizer_spec_of)
    meter.state.apply(observation, "stream", meter.now, found)
    wanted = DerivedChanged(SERIAL, "max_allocated_current", 25)

    assert wanted in list(meter.state.paced(found, meter.now))
    assert wanted in list(meter.state.publications(meter.now))
    subject = Subject(SERIAL, "state", "max_allocated_current")
    value, source = meter.state.explain(subject, meter.now)
    assert value.startswith("max_allocated_current is 25: largest current")
    assert source.startswith("observation 20 (site_structure) is a personal value: measured")
