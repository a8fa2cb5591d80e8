"""Retained documents as observations."""

from bridge.conventions.native.values import ValueMessages
from bridge.core.changes import ValueChanged, ValuesChanged
from bridge.core.easee import roles
from bridge.core.easee.decode import spec_of
from bridge.core.records.observation import RawObservation
from bridge.core.sources.retained_values import MAX_BATCH, retained_observations
from bridge.core.topics import Topics
from bridge.settings import PublishSettings
from tests.conftest import NOON

TOPICS = Topics("charger", ())
ONE = "EH123456"


def published(observation_id: int, value: object, source: str = "stream") -> dict[str, bytes]:
    """Return what the native convention retains of a value."""
    change = ValueChanged(ONE, spec_of(observation_id), value, NOON, NOON, source)
    messages = ValueMessages(TOPICS, PublishSettings(scalar=False)).values(ValuesChanged((change,)))
    return {message.topic: message.payload for message in messages}


def test_what_is_retained_is_read_back_with_its_own_time():
    """Value, time and source are those of the document."""
    kept = published(120, 7.5) | published(109, 3, "poll")
    found = {event.source: event.observations for event in retained_observations(kept, TOPICS)}

    assert found == {
        "stream": (RawObservation(ONE, 120, None, 7.5, "2026-11-22T12:00:00Z"),),
        "poll": (RawObservation(ONE, 109, None, 3, "2026-11-22T12:00:00Z"),),
    }


def test_what_is_no_document_of_ours_is_skipped():
    """Other topics, other shapes, sessions and unknown sources are not read."""
    good = published(120, 7.5)
    document = next(iter(good.values()))
    kept = {
        "charger/EH123456/state/total_power": b"7.5",
        "charger/EH123456/observation/": document,
        "other/EH123456/observation/total_power": document,
        "charger/EH123456/observation/a": b"not json",
        "charger/EH123456/observation/b": b"[]",
        "charger/EH123456/observation/c": document.replace(b'"stream"', b'"moon"'),
        "charger/EH123456/observation/d": document.replace(b"7.5", b"null"),
        "charger/EH123456/observation/e": document.replace(
            b'"id":120', b'"id":%d' % roles.SESSION_REPORT
        ),
    }

    assert list(retained_observations(kept, TOPICS)) == []


def test_many_come_in_pieces():
    """Thousands of documents are several events, none of them long."""
    document = next(iter(published(120, 7.5).values()))
    kept = {f"charger/EH{n:06}/observation/total_power": document for n in range(120)}
    sizes = [len(event.observations) for event in retained_observations(kept, TOPICS)]

    assert sizes == [MAX_BATCH, MAX_BATCH, 120 - 2 * MAX_BATCH]
