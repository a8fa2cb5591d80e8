"""A partition reads lists as if the account had nothing else."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.easee.account_share import ListedSite, listed_chargers, listed_sites, parts
from bridge.core.easee.rest_responses import charger_list
from bridge.core.easee.sites import site_list
from bridge.errors import DecodeError

ONE, TWO = "EH000001", "EH000002"
CHARGERS = json.dumps(
    [{"id": ONE, "productCode": 1}, {"ID": TWO}, {"id": "eh000003"}, {"id": 4}, None]
).encode()
SITES = json.dumps(
    [
        {
            "id": 7,
            "name": "x",
            "circuits": [{"id": 1, "chargers": [{"id": ONE}]}],
            "equalizers": [{"id": "QP000001"}],
        },
        {"id": 8},
        {"name": "no id"},
        5,
    ]
).encode()
NUMBERS = range(4)


def test_the_serial_of_an_entry_is_the_one_that_its_reader_reads():
    """Whatever case its key has; what the reader drops has none."""
    serials = [entry.serial for entry in listed_chargers(CHARGERS)]

    assert serials == [ONE, TWO, None, None, None]
    assert charger_list(CHARGERS).charger_ids == (ONE, TWO)
    assert charger_list(CHARGERS).dropped == 3


def test_an_entry_of_the_sites_has_its_name_and_its_devices():
    """As the reader of sites finds them."""
    first, second, *odd = listed_sites(SITES)
    (site, _) = site_list(SITES).sites

    assert (first.name, first.charger_ids, first.equalizers) == (
        site.addressee,
        site.charger_ids,
        site.equalizers,
    )
    assert (second.name, second.charger_ids) == ("site/8", ())
    assert [(one.name, one.charger_ids) for one in odd] == [(None, ())] * 2
    assert isinstance(first, ListedSite)


@given(st.lists(st.tuples(st.integers(), st.none() | st.sampled_from(NUMBERS))))
def test_every_entry_is_in_the_part_of_its_partition_alone(entries):
    """As it came, in its order; those of no partition, or of one that is not wanted, in none."""
    texts = [(msgspec.Raw(b'{"n": %d}' % value), number) for value, number in entries]
    found = parts(texts, {0, 1, 2})

    for number in (0, 1, 2):
        own = [{"n": value} for value, of in entries if of == number]
        assert json.loads(found[number]) == own
    assert found.keys() == {0, 1, 2}


@pytest.mark.parametrize("listed", [listed_chargers, listed_sites])
@pytest.mark.parametrize("body", [b'{"error": 1}', b"<html>", b'["\xff"]', b"[" * 5000])
def test_what_is_no_list_is_an_error(listed, body):
    """The gateways say what came instead."""
    with pytest.raises(DecodeError):
        list(listed(body))


def test_a_number_that_is_none_does_not_cost_the_list():
    """The readers take it for a text as well."""
    body = b'[{"id": "EH000001", "x": NaN}, {"id": "EH000002"}]'

    assert [entry.serial for entry in listed_chargers(body)] == [ONE, TWO]
