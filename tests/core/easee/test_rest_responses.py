import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.easee import rest_responses
from bridge.core.easee.rest_responses import Circuit, CommandReference, CommandState
from bridge.core.records.observation import RawObservation
from bridge.errors import DecodeError

ID = "EH123456"
TICKS = 638_670_528_000_000_001

READERS = [
    rest_responses.token_pair,
    rest_responses.charger_list,
    lambda body: rest_responses.observations(body, ID),
    rest_responses.command_tickets,
    rest_responses.command_state,
    lambda body: rest_responses.charger_site(body, ID),
]

KEYS = st.sampled_from(
    [
        "accessToken",
        "refreshToken",
        "expiresIn",
        "id",
        "observations",
        "value",
        "timestamp",
        "dataType",
        "device",
        "ticks",
        "commandId",
        "wasAccepted",
        "resultCode",
        "circuits",
        "chargers",
        "siteId",
    ]
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.just(ID)
)
DOCUMENTS = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=20,
)


def body(document):
    """Write JSON."""
    return json.dumps(document).encode()


@pytest.mark.parametrize("read", READERS)
@given(raw=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(read, raw):
    """Arbitrary bytes raise nothing but DecodeError."""
    with contextlib.suppress(DecodeError):
        read(raw)


@pytest.mark.parametrize("read", READERS)
@given(document=DOCUMENTS)
def test_any_document_is_read_or_refused(read, document):
    """Documents with our keys in every wrong place raise nothing but DecodeError."""
    with contextlib.suppress(DecodeError):
        read(body(document))


@pytest.mark.parametrize("read", READERS)
def test_a_recursion_bomb_is_refused(read):
    """Nesting past any stack is a DecodeError."""
    with pytest.raises(DecodeError):
        read(b'{"circuits":' * 200_000)


@pytest.mark.parametrize("read", READERS)
@pytest.mark.fault("F28")
def test_a_page_is_refused(read):
    """A web page with status 200 is not an answer."""
    with pytest.raises(DecodeError):
        read(b"<!doctype html><title>Sign in</title>")


def test_a_token_pair_is_read():
    """Access, refresh and lifetime come out; claims may be empty or missing."""
    pair = rest_responses.token_pair(
        body({"accessToken": "a.b", "refreshToken": "r", "expiresIn": 3600, "accessClaims": []})
    )

    assert pair.access.reveal() == "a.b"
    assert pair.refresh.reveal() == "r"
    assert pair.lifetime_s == 3600.0
    assert "a.b" not in repr(pair)


@pytest.mark.parametrize(
    ("told_s", "kept_s"),
    [
        (0, 60.0),
        (-5, 3600.0),
        (86400.5, 86400.5),
        (10**18, 2_592_000.0),
        ("1800", 1800.0),
        ("-1", 3600.0),
        (None, 3600.0),
        (True, 3600.0),
        ([], 3600.0),
    ],
)
def test_a_lifetime_is_kept_sane(told_s, kept_s):
    """A lifetime that would make us refresh for ever, or never, is bounded."""
    raw = body({"accessToken": "a", "refreshToken": "r", "expiresIn": told_s})

    assert rest_responses.token_pair(raw).lifetime_s == kept_s


@pytest.mark.parametrize(
    "document",
    [
        {"refreshToken": "r"},
        {"accessToken": "a\r\nX: y", "refreshToken": "r", "expiresIn": 1},
        {"accessToken": "", "refreshToken": "r", "expiresIn": 1},
        {"accessToken": ["a"], "refreshToken": "r", "expiresIn": 1},
        ["a"],
        {"accessToken": "é", "refreshToken": "r", "expiresIn": 1},
    ],
)
def test_a_token_that_cannot_be_sent_is_refused(document):
    """Tokens that would break a header are not taken, and not quoted."""
    with pytest.raises(DecodeError) as caught:
        rest_responses.token_pair(body(document))

    assert caught.value.excerpt == "''"


def test_chargers_that_are_no_serials_are_dropped_and_counted():
    """Only ids spelled like serials get in, each once, in the account's order."""
    listed = rest_responses.charger_list(
        body([{"id": "EH2222222"}, {"id": "../x"}, {"id": ID}, {}, None, {"id": 7}, {"id": ID}])
    )

    assert listed.charger_ids == ("EH2222222", ID)
    assert listed.dropped == 4
    assert listed.products == {}


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([{"id": "eh123456"}] * 3, "3 with an id in lower-case letters"),
        ([{"id": 7}, {"id": True}], "2 with an id that is a number"),
        ([{"id": None}, None], "1 with an id that is null, 1 null"),
        ([{"id": "../x"}], "1 with an id that is not spelled like a serial"),
        ([{"serial": ID, "name": "x"}], "1 an object without id, with the keys serial name"),
        ([[ID], ID, 5], "1 a list of 1, 1 a text, 1 a number"),
        ([{"chargers": [{"id": ID}]}], "with the keys chargers and a list of 1"),
    ],
)
def test_entries_that_are_not_understood_are_described(entries, said):
    """How many and what they look like, without an id of any of them."""
    listed = rest_responses.charger_list(body(entries))

    assert listed.dropped == len(entries)
    assert said in listed.shapes
    assert ID not in listed.shapes.upper()


@pytest.mark.parametrize("key", ["Id", "ID"])
def test_the_keys_of_the_charger_list_are_read_in_any_case(key):
    """As those of observations are; the serials are not touched."""
    listed = rest_responses.charger_list(body([{key: ID, "ProductCode": 1}, {key: ID.lower()}]))

    assert (listed.charger_ids, listed.products) == ((ID,), {ID: 1})
    assert listed.shapes == "1 with an id in lower-case letters"


def test_a_list_in_something_else_is_described():
    """An account that answers with an object is told by what it holds."""
    with pytest.raises(DecodeError, match="with the keys items and a list of 2"):
        rest_responses.charger_list(body({"items": [{"id": ID}, {"id": ID}]}))


def test_the_charger_list_tells_products_where_it_does():
    """A product code is a number or digits; anything else is not known."""
    entries = [{"id": ID, "productCode": 1}, {"id": "EH2222222", "productCode": "x"}]

    assert rest_responses.charger_list(body(entries)).products == {ID: 1}


def test_observations_keep_their_json_values():
    """Both forms of the answer give the same observations; dataType may be absent."""
    entries = [
        {"id": 109, "value": 3, "dataType": 4, "timestamp": "2026-11-22T11:00:00Z"},
        {"id": 250, "value": True, "timestamp": "2026-11-22T11:00:00Z", "unit": ""},
        {"id": "x", "value": 1, "timestamp": "t"},
        "noise",
    ]

    expected = rest_responses.ObservationList(
        (
            RawObservation(ID, 109, 4, 3, "2026-11-22T11:00:00Z"),
            RawObservation(ID, 250, None, True, "2026-11-22T11:00:00Z"),
        ),
        dropped=2,
    )
    assert rest_responses.observations(body({"observations": entries, "other": 1}), ID) == expected
    assert rest_responses.observations(body(entries), ID) == expected
    assert rest_responses.observations(b"[]", ID) == rest_responses.ObservationList(())


@pytest.mark.parametrize(
    "wrap",
    [
        lambda entries: {"Observations": entries},
        lambda entries: {"data": entries, "count": 1},
        lambda entries: {"result": {"observations": entries, "paging": {}}},
        lambda entries: [entries],
    ],
)
def test_a_list_of_observations_is_found_where_nothing_else_can_be_meant(wrap):
    """The list may be called otherwise or stand deeper, as long as there is one."""
    entry = {"id": 109, "value": 3, "timestamp": "2026-11-22T11:00:00Z"}

    assert len(rest_responses.observations(body(wrap([entry])), ID).observations) == 1


@pytest.mark.parametrize(
    "document", [{"a": [], "b": []}, {"observations": None}, {"a": {"b": {"c": {"d": {"e": []}}}}}]
)
def test_a_list_of_observations_is_not_guessed(document):
    """Two lists, none, or one very deep are refused."""
    with pytest.raises(DecodeError, match="no list"):
        rest_responses.observations(body(document), ID)


def test_observations_of_which_none_can_be_read_are_refused():
    """A list of something else is not an empty answer."""
    with pytest.raises(DecodeError):
        rest_responses.observations(body([{"name": "x"}]), ID)


@pytest.mark.parametrize(
    ("raw", "tickets"),
    [
        (b"", ()),
        (b"  \n", ()),
        (b"null", ()),
        (b"[]", ()),
        (b"{}", ()),
        (
            body({"device": ID, "commandId": 48, "ticks": TICKS}),
            (CommandReference(ID, 48, TICKS),),
        ),
        (
            body([{"device": ID, "commandId": 42, "ticks": str(TICKS)}, None]),
            (CommandReference(ID, 42, TICKS),),
        ),
        (
            body({"id": 25, "wasAccepted": False, "resultCode": 4}),
            (CommandReference("", 25, None, accepted=False),),
        ),
        (
            body({"Device": ID, "CommandId": 48, "Ticks": TICKS, "Extra": 1}),
            (CommandReference(ID, 48, TICKS),),
        ),
    ],
)
def test_command_answers_become_tickets(raw, tickets):
    """Objects, lists, empty bodies and command states are all understood; ticks stay exact."""
    assert rest_responses.command_tickets(raw) == tickets


def test_a_command_state_is_data():
    """Verdict, code and ticks come out as they are; what is missing is None."""
    raw = body({"id": 48, "wasAccepted": True, "resultCode": 0, "ticks": TICKS})

    assert rest_responses.command_state(raw) == CommandState(
        accepted=True, result_code=0, ticks=TICKS
    )
    assert rest_responses.command_state(b"{}") == CommandState(None, None, None)


def test_the_circuit_of_a_charger_is_found():
    """The site's circuit that has the charger is named with all its chargers."""
    site = {
        "id": 7,
        "circuits": [
            None,
            {"id": 8, "chargers": None},
            {"id": 9, "siteId": 7, "chargers": [{"id": "EH000001"}]},
            {"id": 10, "chargers": [{"id": ID}, {"id": "EH000002"}, {"id": "x"}]},
        ],
    }

    assert rest_responses.charger_site(body(site), ID) == Circuit(7, 10, (ID, "EH000002"))
    with pytest.raises(DecodeError):
        rest_responses.charger_site(body(site), "EH999999")
