"""What the cloud tells of sites, consumption and keys."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.easee.site_documents import consumption, key_list, members, site_document, told
from bridge.core.easee.sites import Site
from bridge.errors import DecodeError

HERE = Site(7, None, (), ())
SINCE, UNTIL = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)


def test_a_site_that_tells_little_is_told_with_nulls():
    """Nothing is made up."""
    found = site_document(b'{"id":7}', HERE, is_personal=False)
    assert found["price"] == dict.fromkeys(("per_kwh", "per_kwh_without_vat", "vat", "currency"))
    assert (found["rated_current"], "name" in found) == (None, False)
    with pytest.raises(DecodeError):
        site_document(b'{"name":"Home"}', HERE, is_personal=False)


def test_members_are_numbers_without_personal_data():
    """Whichever key the cloud uses for the id."""
    body = b'[{"id":1,"email":"a@example.com"},{"userId":2,"userRole":3},"x"]'
    assert members(body, is_personal=False) == [
        {"user_id": 1, "role": None},
        {"user_id": 2, "role": 3},
    ]
    assert members(body, is_personal=True)[0]["email"] == "a@example.com"


def test_what_names_somebody_is_taken_out():
    """At any depth."""
    body = b'[{"cost":1,"user":{"name":"Some One"}}]'
    assert told(body, "cost", is_personal=False) == [{"cost": 1}]
    assert told(body, "cost", is_personal=True) == json.loads(body)


def test_keys_are_a_list():
    """Anything else is a decode error."""
    assert key_list(b"[1]") == [1]
    with pytest.raises(DecodeError):
        key_list(b"{}")


ROW = st.fixed_dictionaries(
    {},
    optional={
        "year": st.integers(-1, 10_000) | st.none(),
        "month": st.integers(0, 13),
        "day": st.integers(0, 32),
        "hour": st.integers(0, 24),
        "from": st.text(max_size=10) | st.just("2026-05-05T05:00:00Z"),
        "consumption": st.floats(allow_nan=False, allow_infinity=False) | st.booleans(),
        "totalEnergy": st.none() | st.integers(),
    },
)


@given(st.lists(ROW | st.integers()), st.sampled_from(["hour", "day", "month"]))
def test_whatever_rows_come_those_told_lie_inside_and_in_order(rows, by):
    """A row that cannot be read costs no other."""
    found = consumption(json.dumps(rows).encode(), by, SINCE, UNTIL)
    starts = [one["from"] for one in found]
    assert starts == sorted(starts)
    assert all(SINCE <= one["from"] < one["to"] <= UNTIL for one in found)
