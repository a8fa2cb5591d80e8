"""Firmware releases: what the cloud's answer names, and what a charger shows."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.easee.enumerations import LED_MODE
from bridge.core.easee.firmware import is_updating, latest_release, update_document
from bridge.errors import DecodeError


@pytest.mark.parametrize(
    ("body", "release"),
    [
        (b'{"version":338}', 338),
        (b'{"latestFirmware":"338"}', 338),
        (b'{"serial":"EH123456","firmwareVersion":"1.2.3-rc1"}', "1.2.3-rc1"),
        (b'{"firmware":{"id":7,"release":341}}', 341),
        (b'{"version":12,"latestVersion":344}', 344),
        (b"345", 345),
        (b'"346"', 346),
    ],
)
def test_the_newest_release(body, release):
    """Whatever form the answer has, a release under a telling name is found."""
    assert latest_release(body) == release


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"null", b"true", b"[]", b"[338]", b"{}", b'{"name":"x"}', b'{"version":null}',
     b'{"version":true}', b'{"version":""}', b'{"version":"a b"}', b'{"version":1.5}'],
)  # fmt: skip
def test_an_answer_that_names_none(body):
    """It is an error, and no release is made up."""
    with pytest.raises(DecodeError):
        latest_release(body)


@given(st.binary(max_size=80) | st.text(max_size=80).map(lambda text: text.encode()))
def test_any_answer_is_read_or_refused(body):
    """No other error leaves the parser."""
    try:
        found = latest_release(body)
    except DecodeError:
        return
    assert isinstance(found, int | str)


def test_the_light_strip_tells_of_an_update():
    """Only the codes that mean updating do."""
    assert {code for code in LED_MODE if is_updating(code)} == set(range(9, 16))
    assert not is_updating(None)
    assert not is_updating("9")
    assert not is_updating(99)


def test_the_document_holds_what_is_known():
    """A release that is not known is left out: Home Assistant takes no null."""
    assert json.loads(update_document(334, None, updating=False)) == {
        "installed_version": "334",
        "in_progress": False,
    }
    assert json.loads(update_document(334, 338, updating=True)) == {
        "installed_version": "334",
        "latest_version": "338",
        "in_progress": True,
    }
