"""Each query asks for what it needs, and its answer says what came and nothing else."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from bridge.core.easee.rest_requests import Endpoint
from bridge.core.easee.sites import Site, SiteCircuit
from bridge.core.queries.catalogue import (
    CLOUD,
    INSTALLED,
    MAX_ROWS,
    QUERIES,
    SCHEDULES,
    PersonalDataPolicy,
    StoredReportsPart,
)
from bridge.core.records.moment import Timestamp
from bridge.core.value_format import iso_utc, json_document, pseudonymize
from bridge.errors import (
    BridgeError,
    CloudRejected,
    CloudUnavailable,
    CommandRefused,
    DecodeError,
    RateLimited,
    StoreError,
)
from tests.conftest import NOON
from tests.core.sessions.rows import ONE, REPORT, TAG, row

NOW = Timestamp(NOON + timedelta(days=10), 1000.0)
PLAIN = PersonalDataPolicy(personal_data=True, salt=b"salt")
HASHING = PersonalDataPolicy(personal_data=False, salt=b"salt")
STAMP = "2026-11-22T12:00:00Z"
GONE = CloudRejected("none", status=404, reason="not_found")


HERE = Site(7, 63.0, (SiteCircuit(9, {"rated_current": 32}, (ONE,)),), ("QP123456",), "Home")
# Payloads of those that do not go without one.
WANTED = {"history": {"name": "charger_op_mode"}, "consumption": {"by": "day"}}


def ask(name, payload=None):
    """Read a payload and return what is asked for."""
    query_spec = QUERIES[name]
    params = query_spec.read({} if payload is None else payload, NOW)
    if query_spec.needs_site:
        params = structs.replace(params, site=HERE)
    return params, dict(query_spec.parts(ONE, params))


def answer(name, parts, payload=None, privacy=HASHING):
    """Answer a query; return its value and its detail."""
    params, _ = ask(name, payload)
    found = QUERIES[name].answer(ONE, params, parts, privacy)
    return json.loads(json_document(found.value)), found.detail


# -- observations -------------------------------------------------------------------------------


def observations(*rows):
    """Spell a fresh read."""
    entries = [{"id": number, "value": value, "timestamp": STAMP} for number, value in rows]
    return json.dumps({"observations": entries}).encode()


def test_observations_are_one_fresh_read_by_name():
    """With id, label, unit and the charger's time; also applied as if polled."""
    params, parts = ask("observations")
    assert [(k, v.endpoint) for k, v in parts.items()] == [("cloud", Endpoint.OBSERVATIONS)]
    body = observations((109, 3), (120, 7.4), (4711, "x"))
    found = QUERIES["observations"].answer(ONE, params, {"cloud": body}, HASHING)

    assert json.loads(json_document(found.value)) == {
        "charger_op_mode": {
            "id": 109, "value": 3, "label": "charging", "unit": None, "measured_at": STAMP
        },
        "total_power": {
            "id": 120, "value": 7.4, "label": None, "unit": "kW", "measured_at": STAMP
        },
        "observation_4711": {
            "id": 4711, "value": "x", "label": None, "unit": None, "measured_at": STAMP
        },
    }  # fmt: skip
    assert [raw.id for raw in found.observations] == [109, 120, 4711]


def test_personal_data_leaves_as_it_does_on_the_topics():
    """Hashed unless the operator says otherwise; a tag inside a text goes in any case."""
    session = json.dumps({"Id": 7, "Auth": TAG, "AuthReason": 3})
    site = '{"address":"Lane 4","n":1}'
    parts = {"cloud": observations((128, TAG), (129, session), (20, site), (4711, site))}
    value, _ = answer("observations", parts)
    assert value[_name(value, 128)]["value"] == pseudonymize(TAG, b"salt")
    assert value["site_structure"]["value"] == pseudonymize(site, b"salt")
    assert value["observation_4711"]["value"] == '{"n":1}'
    assert TAG not in json.dumps(value)
    assert json.loads(value[_name(value, 129)]["value"]) == {"Id": 7, "AuthReason": 3}

    open_ = PersonalDataPolicy(personal_data=True, salt=b"salt")
    value, _ = answer("observations", parts, privacy=open_)
    assert value[_name(value, 128)]["value"] == TAG
    assert TAG not in value[_name(value, 129)]["value"]


def _name(value, number):
    return next(name for name, one in value.items() if one["id"] == number)


def test_what_cannot_be_read_is_counted_and_what_may_hide_a_tag_is_left_out():
    """An unreadable value does not spoil the answer."""
    value, detail = answer(
        "observations", {"cloud": observations((109, "three"), (129, "{"), (103, True))}
    )

    assert list(value) == ["cable_locked"]
    assert detail == "1 values could not be read"


# -- history ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["smart_button_enabled", "observation_44", "44", 44])
def test_a_history_names_its_observation(name):
    """By its name, or by its id where it has none."""
    payload = {"name": name, "from": "2026-11-22T12:00:00Z", "to": "2026-11-23T12:00:00Z"}
    _, parts = ask("history", payload)

    assert parts["cloud"].path == (
        f"/api/chargers/{ONE}/observations/44/2026-11-22T12:00:00Z/2026-11-23T12:00:00Z"
    )


def test_a_history_lists_values_oldest_first():
    """With their labels and the charger's times."""
    rows = [{"value": 2, "measuredAt": "2026-11-22T13:00:00Z"}, {"value": 3, "measuredAt": STAMP}]
    body = json.dumps({"measurements": [*rows, {"value": "x", "measuredAt": STAMP}]}).encode()
    value, detail = answer("history", {"cloud": body}, {"name": "charger_op_mode"})

    assert value == [
        {"value": 3, "label": "charging", "measured_at": STAMP},
        {"value": 2, "label": "awaiting_start", "measured_at": "2026-11-22T13:00:00Z"},
    ]
    assert detail == "1 values could not be read"


def test_a_long_history_is_cut_and_says_so():
    """One message holds the newest of it."""
    rows = [
        {"value": n, "measuredAt": iso_utc(NOON + timedelta(seconds=n))}
        for n in range(MAX_ROWS + 5)
    ]
    value, detail = answer(
        "history", {"cloud": json.dumps(rows).encode()}, {"name": "observation_4711"}
    )

    assert [value[0]["value"], len(value)] == [5, MAX_ROWS]
    assert detail == f"only the newest {MAX_ROWS}"


# -- sessions -----------------------------------------------------------------------------------


def listed(*numbers):
    """Spell sessions as the cloud lists them."""
    return json.dumps(
        [
            {
                "id": number,
                "carConnected": iso_utc(row(number).report.started_at),
                "carDisconnected": iso_utc(row(number).report.ended_at),
                "kiloWattHours": 9.0,
            }
            for number in numbers
        ]
    ).encode()


def test_sessions_come_from_the_ledger_and_from_the_cloud():
    """The ledger's word stands; what only the cloud has is revision 0."""
    params, parts = ask("sessions")
    assert parts["ledger"] == StoredReportsPart(params.since, params.until)
    assert parts["cloud"].endpoint is Endpoint.SESSIONS
    value, detail = answer(
        "sessions", {"ledger": (row(1, revision=2), row(3)), "cloud": listed(1, 2)}
    )

    assert [(one["key"], one["revision"], one["source"]) for one in value] == [
        (f"{ONE}-1", 2, "stream"),
        (f"{ONE}-2", 0, "backfill"),
        (f"{ONE}-3", 1, "stream"),
    ]
    assert value[0]["auth"] == pseudonymize(TAG, b"salt")
    assert detail is None


@pytest.mark.parametrize("cloud", [RateLimited("spent", retry_after_s=60.0), b"<html>"])
def test_without_the_cloud_the_ledger_answers(cloud):
    """A spent budget does not hide what we have ourselves; the answer says what it is."""
    value, detail = answer("sessions", {"ledger": (row(1),), "cloud": cloud})

    assert [one["key"] for one in value] == [f"{ONE}-1"]
    assert detail.startswith("only what the ledger has: ")


def test_without_the_ledger_the_cloud_answers_and_without_both_nobody():
    """The store may be in trouble."""
    value, detail = answer("sessions", {"ledger": StoreError("gone"), "cloud": listed(2)})
    assert [one["key"] for one in value] == [f"{ONE}-2"]
    assert "ledger could not be read" in detail

    with pytest.raises(StoreError):
        answer("sessions", {"ledger": StoreError("gone"), "cloud": CloudUnavailable("down")})


def test_a_long_list_is_cut_and_what_lies_outside_the_period_is_not_in_it():
    """The newest are kept."""
    far = structs.replace(row(1), report=replace(REPORT, ended_at=NOON + timedelta(days=1)))
    rows = tuple(structs.replace(far, key=f"k{n:04}") for n in range(MAX_ROWS + 2))
    value, detail = answer("sessions", {"ledger": rows, "cloud": b"[]"})
    assert (value[0]["key"], len(value)) == ("k0002", MAX_ROWS)
    assert detail == f"only the newest {MAX_ROWS}"

    payload = {"from": "2026-11-22T00:00:00Z", "to": "2026-11-22T14:00:00Z"}
    value, _ = answer("sessions", {"ledger": (), "cloud": listed(1, 2, 3)}, payload)
    assert [one["key"] for one in value] == [f"{ONE}-1"]


# -- firmware -----------------------------------------------------------------------------------


def test_the_firmware_query_compares_what_is_installed_with_what_is_offered():
    """Both releases, and whether they differ; what is not known is null."""
    _, parts = ask("firmware")
    assert [request.path for request in parts.values()] == [
        f"/firmware/{ONE}/latest",
        f"/state/{ONE}/observations?ids=80",
    ]
    offered = b'{"version":338}'

    value, _ = answer("firmware", {CLOUD: offered, INSTALLED: observations((80, "334"))})
    assert value == {"installed": 334, "latest": 338, "update_available": True}
    value, _ = answer("firmware", {CLOUD: offered, INSTALLED: observations((80, "338"))})
    assert value == {"installed": 338, "latest": 338, "update_available": False}
    value, _ = answer("firmware", {CLOUD: offered, INSTALLED: observations()})
    assert value == {"installed": None, "latest": 338, "update_available": None}


# -- schedule -----------------------------------------------------------------------------------


DAILY = (
    b'{"enabled":true,"timezone":"Europe/Oslo","periods":'
    b'[{"startTime":"22:00:00","stopTime":"06:00:00","maximumAmps":16.0}]}'
)
SUMMARY = b'{"enabled":"daily","delayed":null,"daily":%b,"weekly":null}' % DAILY
ALL_GONE = dict.fromkeys(SCHEDULES, GONE)
SHOWN = {
    "charger_id": ONE,
    "in_force": "daily",
    "in_period": False,
    "next_start": "2026-12-02T21:00:00Z",
    "next_stop": "2026-12-03T05:00:00Z",
    "delayed": None,
    "daily": {
        "enabled": True,
        "timezone": "Europe/Oslo",
        "periods": [{"start": "22:00", "stop": "06:00", "amps": 16}],
    },
    "weekly": None,
    "read_at": "2026-12-02T12:00:00Z",
}


def test_a_schedule_is_asked_for_as_a_whole_and_by_kind():
    """The cloud's summary, and the schedules themselves where it does not mention them."""
    _, parts = ask("schedule")

    assert [request.path for request in parts.values()] == [
        f"/api/chargers/{ONE}/schedules{kind}" for kind in ("", "/delayed", "/daily", "/weekly")
    ]


@pytest.mark.parametrize(
    "parts",
    [
        {**ALL_GONE, "schedules": SUMMARY},
        {**ALL_GONE, "schedules": b'{"enabled":"daily"}', "daily": DAILY},
        {**ALL_GONE, "daily": DAILY},
        {**dict.fromkeys(SCHEDULES, CloudUnavailable("down")), "schedules": SUMMARY},
    ],
)
def test_a_schedule_is_shown_as_on_its_topic(parts):
    """Wherever the cloud tells it: in the summary, by kind, or by kind alone."""
    value, detail = answer("schedule", parts)

    assert (value, detail) == (SHOWN, None)


def test_no_schedule_at_all_is_said():
    """Without any schedule the answer has nulls, and a sentence."""
    value, detail = answer("schedule", ALL_GONE)

    assert (value["in_force"], value["daily"], value["in_period"]) == ("none", None, None)
    assert detail == "there is no schedule"


@pytest.mark.parametrize(
    "parts",
    [
        {**ALL_GONE, "schedules": CloudUnavailable("down")},
        {**ALL_GONE, "schedules": b"{}", "daily": CloudUnavailable("down")},
    ],
)
def test_a_schedule_that_could_not_be_read_is_not_said_to_be_empty(parts):
    """Down is not none."""
    with pytest.raises(CloudUnavailable):
        answer("schedule", parts)


def test_a_schedule_that_is_read_by_a_query_is_published_too():
    """The answer brings the schedules themselves along."""
    params, _ = ask("schedule")
    found = QUERIES["schedule"].answer(ONE, params, {**ALL_GONE, "schedules": SUMMARY}, HASHING)

    assert found.schedules.in_force == "daily"


# -- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "payload"),
    [
        ("observations", 7),
        ("schedule", {"from": STAMP}),
        ("sessions", "all"),
        ("sessions", {"from": "yesterday"}),
        ("sessions", {"from": 5}),
        ("sessions", {"form": STAMP}),
        ("sessions", {"from": STAMP, "to": STAMP}),
        ("sessions", {"from": "2024-01-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"}),
        ("history", {}),
        ("history", {"name": "horoscope"}),
        ("history", {"name": ""}),
        ("history", {"name": "9" * 30}),
        ("history", {"name": "٣"}),
        ("history", {"name": "charger_op_mode", "from": "2026-01-01T00:00:00Z"}),
    ],
)
def test_what_is_not_understood_completely_is_refused(name, payload):
    """With a sentence that says what is."""
    with pytest.raises(CommandRefused) as refusal:
        ask(name, payload)
    assert refusal.value.reason == "invalid_value"


@given(st.sampled_from([*QUERIES]), st.binary(max_size=60) | st.just(b"[]"), st.booleans())
def test_any_bodies_give_json_or_a_named_error(name, body, fails):
    """Whatever the cloud answers."""
    params, parts = ask(name, WANTED.get(name))
    came = {part: DecodeError("x", source="y") if fails else body for part in parts}
    if "ledger" in came:
        came["ledger"] = (row(1),)
    try:
        found = QUERIES[name].answer(ONE, params, came, HASHING)
    except BridgeError:
        return
    json.loads(json_document(found.value))


# -- sites --------------------------------------------------------------------------------------

SITE_BODY = json.dumps(
    {
        "id": 7,
        "name": "Home",
        "ratedCurrent": 63.0,
        "costPerKWh": 1.25,
        "costPerKwhExcludeVat": 1.0,
        "vat": 25.0,
        "currencyId": "NOK",
        "address": {"street": "Main street 1"},
    }
).encode()
USERS = b'[{"userId":4711,"email":"a@example.com","firstName":"Some","userRole":1}]'
COSTS = b'[{"chargerId":"EH123456","totalCost":12.5,"currencyId":"NOK","userName":"Some"}]'


def test_a_site_is_told_with_price_cost_and_members():
    """Without name, address and what names a person."""
    _, parts = ask("site")
    assert [one.path for one in parts.values()] == [
        "/api/sites/7?detailed=true",
        "/api/sites/7/breakdown/2026-12-01T00:00:00Z/2026-12-02T12:00:00Z",
        "/api/sites/7/users",
    ]
    value, detail = answer("site", {"cloud": SITE_BODY, "cost": COSTS, "members": USERS})
    assert value == {
        "site_id": 7,
        "rated_current": 63,
        "price": {"per_kwh": 1.25, "per_kwh_without_vat": 1, "vat": 25, "currency": "NOK"},
        "circuits": [{"circuit_id": 9, "chargers": [ONE], "rated_current": 32}],
        "chargers": [ONE],
        "equalizers": ["QP123456"],
        "cost": [{"chargerId": "EH123456", "totalCost": 12.5, "currencyId": "NOK"}],
        "members": [{"user_id": 4711, "role": 1}],
    }
    assert detail is None


def test_with_personal_data_a_site_is_told_as_the_cloud_tells_it():
    """Name, address and members."""
    parts = {"cloud": SITE_BODY, "cost": COSTS, "members": USERS}
    value, _ = answer("site", parts, privacy=PLAIN)
    assert (value["name"], value["address"]) == ("Home", {"street": "Main street 1"})
    assert value["members"][0]["firstName"] == "Some"
    assert value["cost"][0]["userName"] == "Some"


def test_what_the_account_may_not_read_of_a_site_is_null():
    """And named; without the site itself there is no answer."""
    denied = CloudRejected("no", status=403, reason="forbidden")
    value, detail = answer("site", {"cloud": SITE_BODY, "cost": denied, "members": denied})
    assert (value["cost"], value["members"]) == (None, None)
    assert detail == "not told: cost, members"
    with pytest.raises(CloudRejected):
        answer("site", {"cloud": denied, "cost": COSTS, "members": USERS})


def test_consumption_by_hour_day_and_month():
    """Each from the place where the cloud has it, oldest first, wholly inside the period."""
    period = {"from": "2026-11-01T00:00:00Z", "to": "2026-11-03T00:00:00Z"}
    _, parts = ask("consumption", {**period, "by": "hour"})
    assert parts["cloud"].path == (
        f"/api/chargers/{ONE}/usage/hourly/2026-11-01T00:00:00Z/2026-11-03T00:00:00Z"
    )
    hour = b'[{"from":"2026-11-01T01:00:00Z","to":"2026-11-01T02:00:00Z","totalEnergy":1.5}]'
    value, _ = answer("consumption", {"cloud": hour}, {**period, "by": "hour"})
    assert value == [
        {"from": "2026-11-01T01:00:00Z", "to": "2026-11-01T02:00:00Z", "energy_kwh": 1.5}
    ]
    _, parts = ask("consumption", {**period, "by": "day"})
    assert parts["cloud"].path == (
        f"/api/chargers/lifetime-energy/{ONE}/daily"
        "?from=2026-11-01T00:00:00Z&to=2026-11-03T00:00:00Z&tz=UTC"
    )
    days = b"""[{"year":2026,"month":11,"day":2,"hour":null,"consumption":7.25},
        {"year":2026,"month":11,"day":1,"consumption":3},
        {"year":2026,"month":11,"day":3,"consumption":9}, {"year":0,"consumption":1}, "x"]"""
    value, _ = answer("consumption", {"cloud": days}, {**period, "by": "day"})
    assert [(one["from"], one["energy_kwh"]) for one in value] == [
        ("2026-11-01T00:00:00Z", 3),
        ("2026-11-02T00:00:00Z", 7.25),
    ]
    year = {"from": "2026-11-01T00:00:00Z", "to": "2027-01-01T00:00:00Z", "by": "month"}
    months = b'[{"year":2026,"month":12,"consumption":80},{"year":2027,"month":1,"consumption":1}]'
    value, _ = answer("consumption", {"cloud": months}, year)
    assert [(one["from"], one["to"]) for one in value] == [
        ("2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z")
    ]


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"by": "week"},
        {"by": "hour", "from": "2026-01-01T00:00:00Z", "to": "2026-03-01T00:00:00Z"},
        {"by": ["hour"]},
    ],
)
def test_a_consumption_that_cannot_be_asked_for_is_refused(payload):
    """Each with what is allowed."""
    with pytest.raises(CommandRefused):
        ask("consumption", payload)


def test_keys_are_told_as_they_are():
    """Only where personal data may be told, which the service checks by its row."""
    assert QUERIES["keys"].is_personal
    assert answer("keys", {"cloud": b'[{"name":"Some One"}]'}) == ([{"name": "Some One"}], None)
