"""The vendor's sites: what can be used is read, and nothing else raises."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.easee.sites import Site, SiteCircuit, circuit_facts, site_list
from bridge.errors import DecodeError

SITE = {
    "id": 8001,
    "name": "Home",
    "ratedCurrent": 63.0,
    "address": {"street": "Main street 1", "zip": "4306", "country": None},
    "equalizers": [{"id": "QP000001"}, {"id": "not a serial"}],
    "circuits": [
        {"id": 9, "ratedCurrent": 32.0, "fuseCurrent": None, "chargers": [{"id": "EH000001"}]},
        {"id": None},
    ],
}


def test_a_site_is_read_with_everything_that_can_be_used():
    """What is missing is None, what has no id is dropped, and that is counted."""
    listed = site_list(json.dumps([SITE, {"id": 7, "circuits": None}, "x"]).encode())

    home = Site(
        8001,
        63.0,
        (SiteCircuit(9, {"rated_current": 32.0}, ("EH000001",)),),
        ("QP000001",),
        "Home",
        {"street": "Main street 1", "zip": "4306"},
    )
    assert listed.sites == (home, Site(7, None, (), ()))
    assert listed.dropped == 2
    assert listed.equalizers == ("QP000001",)
    assert home.charger_ids == ("EH000001",)
    assert "Main street" not in repr(home)
    assert "Home" not in repr(home)


def test_what_is_no_list_is_a_decode_error():
    """An object, or no JSON."""
    for body in (b"{}", b"<html>", b"null"):
        with pytest.raises(DecodeError):
            site_list(body)


def test_only_what_is_a_number_or_a_flag_is_told_of_a_circuit():
    """Under published names."""
    facts = {"maxCircuitCurrentP1": 20, "enableIdleCurrent": True, "panelName": "F1", "id": 9}
    assert circuit_facts(facts) == {"max_circuit_current_p1": 20, "enable_idle_current": True}
    assert circuit_facts({"ratedCurrent": "32"}) == {}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["id", "circuits", "equalizers", "chargers", "address", "name"]), inner
        )
    ),
    max_leaves=20,
)


@given(JSON)
def test_whatever_comes_is_read_or_a_decode_error(document):
    """Nothing from outside raises anything else."""
    try:
        listed = site_list(json.dumps(document).encode())
    except DecodeError:
        assert not isinstance(document, list)
    else:
        assert len(listed.sites) <= len(document)
