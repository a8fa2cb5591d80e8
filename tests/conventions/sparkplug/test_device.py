"""The metrics of one device, in births and in data."""

import pytest

from bridge.conventions.sparkplug.device import BAD, GOOD, MAX_RESULTS, Aliases, Device, Reading
from bridge.conventions.sparkplug.metrics import BOOLEAN, DOUBLE, STRING, MetricType
from bridge.conventions.sparkplug.payload import DataType, decode, encode

POWER = MetricType(DataType.DOUBLE, "kW")
TYPES = {"power": POWER, "mode": STRING, "Command/start": BOOLEAN, "Session/auth": STRING}
NOW_MS = 5000


@pytest.fixture(params=[False, True], ids=["names", "aliases"])
def device(request):
    """A device that is available."""
    made = Device(3, TYPES, Aliases(are_used=request.param))
    made.is_online = True
    return made


def read(metrics):
    """Read metrics as a host does."""
    return decode(encode(None, metrics, None)).metrics


def named(device, metrics):
    """Read data by name."""
    names = device.names()
    return {one.name or names[one.alias]: one for one in read(metrics)}


def quality(metric):
    """Return the quality of a metric, or None where it is not told."""
    return next((value for key, _, value in metric.properties if key == "Quality"), None)


def test_a_birth_has_every_metric(device):
    """With name, type, time and quality; null and bad where there is no value yet."""
    device.set("power", 7.28, 1000, POWER)
    born = {one.name: one for one in read(device.birth(NOW_MS))}

    assert born.keys() == TYPES.keys()
    assert (born["power"].value, born["power"].timestamp) == (7.28, 1000)
    assert (born["power"].datatype, quality(born["power"])) == (DataType.DOUBLE, GOOD)
    assert ("engUnit", DataType.STRING, "kW") in born["power"].properties
    assert (born["mode"].value, born["mode"].timestamp, quality(born["mode"])) == (
        None,
        NOW_MS,
        BAD,
    )
    # It can be written without having a value.
    assert (born["Command/start"].value, quality(born["Command/start"])) == (None, GOOD)


def test_data_has_what_changed_since(device):
    """With either an alias or a name, and the quality where it is another one."""
    device.birth(NOW_MS)
    assert not device.has_news
    device.set("power", 7.28, 1000, POWER)
    device.set("power", 7.3, 2000, POWER)
    assert device.has_news
    (metric,) = read(device.data())
    assert (bool(metric.name), metric.alias is None) == ((not device.names()),) * 2
    assert (metric.value, metric.timestamp, quality(metric)) == (7.3, 2000, GOOD)
    device.set("power", 7.4, 3000, POWER)
    (metric,) = read(device.data())

    assert quality(metric) is None
    assert not device.has_news


def test_the_same_value_is_no_news(device):
    """Its newer time is in the next birth."""
    device.set("power", 7.28, 1000, POWER)
    device.birth(NOW_MS)
    device.set("power", 7.28, 2000, POWER)

    assert not device.has_news
    assert {one.name: one.timestamp for one in read(device.birth(NOW_MS))}["power"] == 2000


def test_a_value_that_is_lost_is_null_and_bad(device):
    """So is one that cannot be read as its type."""
    device.set("power", 7.28, 1000, POWER)
    device.birth(NOW_MS)
    for lost in (None, "warm"):
        device.set("power", lost, 2000, POWER)
        (metric,) = read(device.data())
        assert (metric.value, quality(metric)) == (None, BAD)
        device.set("power", 7.3, 3000, POWER)
        (metric,) = read(device.data())
        assert (metric.value, quality(metric)) == (7.3, GOOD)


def test_everything_is_bad_while_the_device_is_not_available(device):
    """Commands too."""
    device.set("power", 7.28, 1000, POWER)
    device.is_online = False

    assert {quality(one) for one in read(device.birth(NOW_MS))} == {BAD}


def test_metrics_are_in_the_order_of_their_times(device):
    """In births and in data."""
    device.set("mode", "a", 3000, STRING)
    device.set("power", 1.0, 2000, POWER)
    times = [one.timestamp for one in read(device.birth(NOW_MS))]
    assert times == sorted(times)
    device.set("mode", "b", 4500, STRING)
    device.set("power", 2.0, 4000, POWER)

    assert [one.timestamp for one in read(device.data())] == [4000, 4500]


def test_a_new_metric_asks_for_a_birth(device):
    """Ids that nobody has named come while the program runs."""
    device.birth(NOW_MS)
    device.set("observation_999", 5, 1000, DOUBLE)
    assert not device.is_born

    assert {one.name for one in read(device.birth(NOW_MS))} == {*TYPES, "observation_999"}


def test_every_value_that_was_added_goes_out(device):
    """A result is not replaced by the next; of too many the oldest are left out."""
    device.birth(NOW_MS)
    for number in range(MAX_RESULTS + 2):
        device.add("mode", str(number), number, (("final", DataType.BOOLEAN, True),))
    found = read(device.data())

    assert [one.value for one in found] == [str(n) for n in range(2, MAX_RESULTS + 2)]
    assert ("final", DataType.BOOLEAN, True) in found[0].properties


def test_what_is_remembered_is_in_the_birth_only(device):
    """Unless something newer is there, and never a tag."""
    device.birth(NOW_MS)
    device.remember({"mode": Reading("new", 2000), "Session/auth": Reading("sha256:1", 2000)})
    device.remember({"mode": Reading("old", 1000)})

    assert not device.has_news
    born = {one.name: one.value for one in read(device.birth(NOW_MS))}
    assert (born["mode"], born["Session/auth"]) == ("new", None)


def test_history_is_marked(device):
    """Each metric of it."""
    device.birth(NOW_MS)
    readings = {"Session/auth": Reading("sha256:1", 1000)}

    for is_late in (True, False):
        found = named(device, device.historical(readings, is_late=is_late))
        assert found["Session/auth"].is_historical is is_late
        assert found["Session/auth"].value == "sha256:1"


def test_aliases_are_unique_among_devices():
    """And never 0, which some hosts take for none."""
    aliases = Aliases(are_used=True)
    devices = [Device(number, TYPES, aliases) for number in range(3)]
    found = [alias for device in devices for alias in device.names()]

    assert len(set(found)) == len(found) == 3 * len(TYPES)
    assert min(found) > 0
