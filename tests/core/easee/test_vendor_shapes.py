"""Shapes of documents: names and types of fields, and no value."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.easee import vendor_shapes
from bridge.core.easee.vendor_shapes import shape_of, template_of


def test_a_shape_has_every_field_with_its_type():
    """Objects in lists and in objects have a path; numbers are one type."""
    document = {"observations": [{"id": 1, "value": "x"}, {"id": 2.5, "more": None}], "ok": True}

    assert shape_of(json.dumps(document).encode()) == {
        "|observations|list",
        "|ok|boolean",
        "observations[]|id|number",
        "observations[]|value|text",
        "observations[]|more|null",
    }


@pytest.mark.parametrize(
    ("body", "shape"),
    [(b"{", None), (b"", None), (b"5", {"||number"}), (b"[]", set()), (b"[[{}]]", set())],
)
def test_what_is_no_object_has_a_shape_too(body, shape):
    """A number has one, a list of nothing has nothing, and what is no JSON has none."""
    assert shape_of(body) == shape


def test_no_key_that_is_an_id_is_in_a_shape():
    """A serial, a number or a text as a key is an asterisk."""
    shape = shape_of(b'{"EH123456":{"a":1},"Jane Doe":1,"4711":1}')

    assert shape == {"|*|object", "*|a|number", "|*|number"}


@given(st.recursive(st.text() | st.integers(), lambda inner: st.dictionaries(st.text(), inner)))
def test_no_value_is_in_a_shape(document):
    """Whatever a document says, its shape is made of names and types."""
    for one in shape_of(json.dumps(document).encode()) or ():
        assert len(one.split("|")) == 3


def test_a_large_document_has_a_small_shape(monkeypatch):
    """Depth, elements and fields are limited."""
    monkeypatch.setattr(vendor_shapes, "MAX_FIELDS", 5)
    wide = json.dumps({f"name{'x' * number}": 1 for number in range(30)}).encode()
    deep = ('{"a":' * 50 + "1" + "}" * 50).encode()

    assert len(shape_of(wide) or ()) == 5
    assert len(shape_of(deep) or ()) <= 7


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/api/chargers/EH123456/observations?ids=1", "/api/chargers/{}/observations"),
        ("/api/sites/4711/circuits/1/settings", "/api/sites/{}/circuits/{}/settings"),
        ("/api/accounts/refresh_token", "/api/accounts/refresh_token"),
        ("/", "/"),
    ],
)
def test_a_path_loses_its_ids(path, template):
    """Serials and numbers are left out, and so is the query."""
    assert template_of(path) == template
