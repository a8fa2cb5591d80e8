"""The schemas: one per kind of message, true to the builders and to what the bridge reads."""

import json
import re
from datetime import UTC, datetime

import jsonschema
import pytest

from bridge.conventions.native.sessions import report_document
from bridge.core.commands.state_machine import State
from bridge.core.easee.command_catalogue import CATALOGUE
from bridge.core.easee.observation_registry import REGISTRY
from bridge.core.records.session_report import SessionReport
from bridge.core.records.stored_report import StoredReport
from bridge.core.session_documents import last_fields
from bridge.core.topics import Topics
from bridge.core.value_format import json_document
from bridge.exports.message_schemas import (
    DEFAULT_MAX_CURRENT_A,
    RESULT_STATES,
    as_text,
    messages,
    parameter,
    schema_bundle,
    schema_document,
)
from bridge.settings import CommandSettings
from tests.judge import Judge
from tests.strict import complaints

TOPICS = Topics()
JUDGE = Judge()
HEARTBEAT = {
    "client_id": "b",
    "instance": "i",
    "started_at": "",
    "at": "2026-11-22T12:00:00Z",
    "count": 7,
}
MESSAGES = messages(TOPICS)
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
ONE = "charger/EH123456"
POWER = {
    "id": 120,
    "name": "total_power",
    "value": 7.5,
    "label": None,
    "unit": "kW",
    "measured_at": "2026-11-22T12:00:00Z",
    "received_at": "2026-11-22T12:00:00.123Z",
    "source": "stream",
}
REPORT = SessionReport(
    charger_id="EH123456",
    session_id=435,
    started_at=NOON,
    ended_at=NOON,
    energy_kwh=0.4,
    meter_start_kwh=None,
    meter_stop_kwh=1278.2,
    auth_reason=3,
    auth="tag",
    source="stream",
    measured_at=NOON,
    received_at=NOON,
)


def observed(**changes):
    """Judge an observation document with these changes."""
    document = {**POWER, **changes}
    return JUDGE.problem(f"{ONE}/observation/{document['name']}", json.dumps(document).encode())


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.name)
def test_every_schema_is_one(message):
    """Both validators' drafts take every schema, alone and in a document of its own."""
    for validator in (jsonschema.Draft202012Validator, jsonschema.Draft7Validator):
        validator.check_schema(message.schema)
    assert schema_document(message)["title"] == message.name


def test_names_are_unique_and_all_in_the_bundle():
    """The bundle has every kind of message under a name of its own, and is JSON."""
    bundle = json.loads(as_text(schema_bundle(TOPICS)))

    assert list(bundle["$defs"]) == [message.name for message in MESSAGES]
    assert len(bundle["$defs"]) == len(MESSAGES)


def _covers(filter_, address):
    return re.fullmatch(filter_.replace("+", "[^/]+"), address) is not None


def test_every_topic_of_the_tree_has_a_row():
    """Whatever the tree publishes or subscribes to is described, and nothing else is."""
    addresses = {message.address for message in MESSAGES if message.published}

    for filter_ in TOPICS.publications:
        assert any(_covers(filter_, address) for address in addresses), filter_
    for address in addresses:
        assert any(_covers(filter_, address) for filter_ in TOPICS.publications), address
    assert JUDGE.message(f"{ONE}/nothing/else") is None


def test_every_command_has_a_topic_of_its_own():
    """Each row of the catalogue is a channel, described in the catalogue's words."""
    by_address = {message.address: message for message in MESSAGES}

    for spec in CATALOGUE.values():
        message = by_address[TOPICS.command("{charger}", spec.name)]
        assert not message.published
        assert message.summary == spec.description


def test_an_observation_is_valid_as_the_contract_shows_it():
    """The document of a known observation, and of one that nobody has named, is valid."""
    assert observed() is None
    assert observed(id=9999, name="observation_9999", unit=None, value=None) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"unit": "W"},
        {"name": "in_current_t3"},
        {"label": "charging"},
        {"value": [7]},
        {"source": "guess"},
        {"measured_at": "2026-11-22 12:00:00"},
        {"id": 9999},
        {"more": 1},
    ],
)
def test_an_observation_that_says_something_else_is_not(changes):
    """Name, unit and labels follow from the id; times and sources have one spelling."""
    assert observed(**changes) is not None


def test_a_label_is_one_of_the_registry():
    """A coded observation carries a label of its table or null."""
    labels = REGISTRY[109].labels

    for code, label in labels.items():
        assert observed(id=109, name=REGISTRY[109].name, unit=None, value=code, label=label) is None
    assert observed(id=109, name=REGISTRY[109].name, unit=None, value=3, label="busy") is not None


def test_documents_of_a_session_are_valid():
    """What the ledger and the board write of a session is what the schemas say."""
    report = report_document(StoredReport("EH123456:435", 1, REPORT))

    assert JUDGE.problem(f"{ONE}/session/report", report) is None
    assert JUDGE.problem(f"{ONE}/session/last", json_document(dict(last_fields(REPORT)))) is None
    assert JUDGE.problem(f"{ONE}/session/last", report) is not None


def test_derived_state_has_its_words():
    """A derived topic says one of its own words, and an alert may be emptied."""
    assert JUDGE.problem(f"{ONE}/state/op_mode", b"charging") is None
    assert JUDGE.problem(f"{ONE}/state/op_mode", b"3") is not None
    assert JUDGE.problem("charger/bridge/alert/blocked", b"") is None
    assert JUDGE.problem("charger/bridge/state", b"") is not None


def test_what_is_retained_of_a_charger_may_be_emptied():
    """A charger that left has its retained topics emptied; what is not retained is never empty."""
    of_a_charger = [m for m in MESSAGES if m.published and "{charger}" in m.address]

    assert {m.name for m in of_a_charger if m.cleared} == {
        m.name for m in of_a_charger if m.retained
    }
    assert JUDGE.problem(f"{ONE}/availability", b"") is None
    assert JUDGE.problem(f"{ONE}/session/report", b"") is not None


def test_only_what_is_published_is_taken_for_a_publication():
    """A message of ours on a topic we listen to is as unknown as one that nobody described."""
    assert JUDGE.problem(f"{ONE}/set/start", b"PRESS") is not None
    assert JUDGE.problem("charger/else", b"PRESS") is not None
    assert JUDGE.problems([("charger/else", b"1"), ("charger/else", b"2")]) == [
        "charger/else: unknown topic"
    ]


def test_every_fate_of_a_command_is_a_word_of_the_answer():
    """The answer's words are those of the states that have an answer."""
    inside = {State.RECEIVED, State.WAITING, State.LEAVING, State.SENT, State.IN_DOUBT}
    inside.add(State.RUNNING)  # its results say accepted

    assert set(RESULT_STATES) == {state.value for state in State if state not in inside}


def test_the_configurations_largest_current_is_the_schemas():
    """What may be asked of a charger follows from ``commands.max_current_a``."""
    by_name = {message.name: message for message in messages(TOPICS, 20)}
    judge = jsonschema.Draft202012Validator(by_name["set_dynamic_charger_current"].schema)

    assert judge.is_valid(20)
    assert not judge.is_valid(21)
    assert CommandSettings().max_current_a == DEFAULT_MAX_CURRENT_A


def test_a_level_says_what_stands_there():
    """Every parameter of every address is described."""
    assert "Serial" in parameter("charger")["description"]


LOOSE = {
    "union": {"type": ["boolean", "number", "string", "null"]},
    "property": {"type": "object", "properties": {"a": {"pattern": "^x$"}}},
    "required": {"type": "object", "properties": {"a": {}}, "required": ["b"]},
    "keyword": {"type": "string", "minimun": 1},
    "wrong type": {"type": "string", "minimum": 1},
    "other type": {"type": "string", "anyOf": [{"type": "number"}]},
    "then": {"type": "string", "then": {"minLength": 1}},
    "items": {"type": "array", "items": {"type": ["string", "number"]}},
}


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.name)
def test_a_strict_validator_takes_every_schema(message):
    """Nothing is left to be guessed: no union of types, no keyword without its type."""
    assert list(complaints(schema_document(message))) == []


@pytest.mark.parametrize("name", LOOSE)
def test_what_is_left_to_be_guessed_is_named(name):
    """The check above finds each of the ways."""
    assert len(list(complaints(LOOSE[name]))) == 1


@pytest.mark.parametrize(
    ("change", "good"),
    [
        ({"count": 8}, True),
        ({"client_id": "another"}, True),
        ({"count": 7.5}, False),
        ({"count": -7}, False),
        ({"count": "7"}, False),
        ({"client_id": 7}, False),
        ({"at": "2026-11-22 12:00"}, False),
        ({"more": 7}, False),
    ],
)
def test_what_is_like_a_valid_message_is_judged_all_the_same(change, good):
    """The judge takes for known only what its schema cannot tell from what was valid."""
    judge = Judge()
    topic = Topics().bridge_heartbeat
    assert judge.problem(topic, json.dumps(HEARTBEAT).encode()) is None

    changed = json.dumps({**HEARTBEAT, **change}).encode()
    assert (judge.problem(topic, changed) is None) == good
    assert (judge.problem(topic, changed.replace(b'": ', b'":')) is None) == good
