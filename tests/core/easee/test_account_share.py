"""A partition reads lists as if the account had nothing else."""

import json

import pytest

from bridge.core.easee.account_share import chargers_of, sites_of
from bridge.core.easee.rest_responses import charger_list
from bridge.core.easee.sites import site_list
from bridge.errors import DecodeError

ONE, TWO = "EH000001", "EH000002"
CHARGERS = json.dumps(
    [{"id": ONE, "productCode": 1}, {"ID": TWO}, {"id": "eh000003"}, {"id": 4}, None]
).encode()
SITES = json.dumps([{"id": 7, "name": "x"}, {"id": 8}, {"name": "no id"}, 5]).encode()


@pytest.mark.parametrize("keeps_odd", [True, False])
def test_chargers_are_kept_whole_and_odd_entries_by_one_partition(keeps_odd):
    """What cannot be read is told once."""
    whole, part = charger_list(CHARGERS), chargers_of(CHARGERS, {ONE}.__contains__, keeps_odd=False)
    found = charger_list(chargers_of(CHARGERS, {ONE}.__contains__, keeps_odd=keeps_odd))

    assert json.loads(part) == [{"id": ONE, "productCode": 1}]
    assert found.charger_ids == (ONE,)
    assert found.dropped == (whole.dropped if keeps_odd else 0)


def test_a_key_in_another_case_is_read_as_the_reader_does():
    """The list is divided by what is served, not by how it is spelled."""
    assert charger_list(chargers_of(CHARGERS, {TWO}.__contains__, keeps_odd=False)).charger_ids == (
        TWO,
    )


@pytest.mark.parametrize("keeps_odd", [True, False])
def test_sites_are_kept_whole_by_their_name(keeps_odd):
    """With everything that their reader takes of them."""
    part = sites_of(SITES, {"site/7"}.__contains__, keeps_odd=keeps_odd)

    assert [site.name for site in site_list(part).sites] == ["x"]
    assert len(json.loads(part)) == (3 if keeps_odd else 1)


@pytest.mark.parametrize("share", [chargers_of, sites_of])
def test_what_is_no_list_is_left_to_the_reader(share):
    """It says what came instead."""
    assert share(b'{"error": 1}', bool, keeps_odd=False) == b'{"error": 1}'
    with pytest.raises(DecodeError):
        share(b"<html>", bool, keeps_odd=False)
