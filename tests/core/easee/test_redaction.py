import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.easee.redaction import publishable, redact_auth_fields, shown
from tests.core.sessions.rows import TAG

FINISHED = (
    '{"Auth":"04CANARY5A6B80","AuthReason":3,"EnergyKwh":0.411273,"Id":435,'
    '"MeterValueStart":1277.872637,"MeterValueStop":1278.28391,'
    '"Start":"2025-01-22T12:51:47.000Z","Stop":"2025-01-22T13:05:38.000Z"}'
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_the_tag_goes_and_the_rest_stays():
    """A session's text keeps every field and digit except the tag."""
    assert redact_auth_fields(FINISHED) == FINISHED.replace('"Auth":"04CANARY5A6B80",', "")


@pytest.mark.parametrize(
    "key",
    ["Auth", "auth", "AUTH", "AuthToken", "authUser", " Auth", "IdToken", "RfidTag", "OCPPIdTag"],
)
def test_every_spelling_of_the_field_goes_at_any_depth(key):
    """A tag does not stay because its field is spelled or nested differently."""
    nested = json.dumps({"Id": 1, key: "T", "More": [{key: {"x": "T"}, "Start": 2}]})

    assert redact_auth_fields(nested) == '{"Id":1,"More":[{"Start":2}]}'


def test_what_repeats_the_tag_goes_with_it():
    """A tag does not stay because it is told a second time under another name."""
    text = json.dumps(
        {"Auth": "04CANARY", "Who": "x-04canary", "All": ["04CANARY", 7], "Id": 4, "On": True}
    )

    assert redact_auth_fields(text) == '{"All":[7],"Id":4,"On":true}'


@pytest.mark.parametrize(
    "text",
    [
        "",
        "04CANARY",
        '"Auth"',
        "[1]",
        "7",
        '{"Auth":',
        '{"a":NaN}',
        '{"a":1e999}',
        "[" * 100_000,
        7,
        True,
    ],
)
def test_what_cannot_be_read_cannot_be_cleared(text):
    """Anything that is no JSON object is withheld altogether."""
    assert redact_auth_fields(text) is None


@given(st.text() | JSON.map(json.dumps) | st.dictionaries(st.text(), JSON).map(json.dumps))
def test_redaction_is_total(text):
    """No text stops it, and what it lets through is a JSON object without the field."""
    cleared = redact_auth_fields(text)

    assert cleared is None or not any(
        key.strip().lower().startswith("auth") and key.strip().lower() != "authreason"
        for key in json.loads(cleared)
    )


def test_a_text_that_names_nobody_stays_as_it_is():
    """Byte for byte: also one that only looks like a document, and words within words."""
    for text in (
        "RUNNING", "", "{", "[1, 2]", '{"capacity": 1, "contactor":"x", "macro":2, "formatted":1}',
        '{"a":1', "  {}", '{"ø":"\u00e5"}',
    ):  # fmt: skip
        assert publishable(text) == text


@pytest.mark.parametrize(
    "key",
    ["address", "Street", "zipCode", "postalCode", "phone_number", "ownerName", "installer",
     "contactInfo", "wiFiSsid", "SSID", "gpsLatitude", "email", "mac", "idTag", "auth"],
)  # fmt: skip
def test_a_field_that_names_somebody_goes_at_any_depth(key):
    """Under whatever spelling of its name, in an object, a list, or a document within a text."""
    found = {"secret": "Lane 4, Elsewhere"}
    for document in ({key: found, "n": 1}, [{"a": {key: found}, "n": 1}]):
        for text in (json.dumps(document), json.dumps({"inner": json.dumps(document)})):
            cleared = publishable(text)
            assert "Elsewhere" not in cleared
            assert "n" in cleared


def test_what_repeats_an_address_goes_with_it():
    """The same text elsewhere in the document is the address too."""
    text = json.dumps({"address": "Lane 4, Elsewhere", "title": "lane 4, elsewhere, left", "n": 1})

    assert json.loads(publishable(text)) == {"n": 1}


@pytest.mark.parametrize("text", ['{"street":"Lane 4"', '[{"ownerName":"X"},', '{"phone":NaN}'])
def test_a_broken_document_that_may_name_somebody_is_withheld(text):
    """It cannot be cleared, so it does not go out."""
    assert publishable(text) is None


DOCUMENTS = st.recursive(
    st.none() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


@given(st.text() | DOCUMENTS.map(json.dumps))
def test_clearing_a_text_is_total(text):
    """Whatever comes, a text or None comes out; and what came out is not changed again."""
    cleared = publishable(text)

    assert cleared is None or publishable(cleared) == cleared


def test_it_is_shown_without_tags():
    """An object without its fields, anything else up to the first that may hold one."""
    whole = json.dumps({"Id": 7, "Auth": TAG, "AuthReason": 3})

    assert shown(whole) == '{"Id":7,"AuthReason":3}'
    for text in (
        whole[:-1],
        json.dumps([whole]),
        json.dumps(json.dumps(whole)),
        f'{{"Auth":"{TAG}"',
    ):
        assert TAG not in shown(text)
    assert shown('{"Id":7,') == '{"Id":7,'
