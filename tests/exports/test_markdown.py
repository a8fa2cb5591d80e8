"""Markdown: what stands in a cell stays in its cell."""

import re

from hypothesis import given
from hypothesis import strategies as st

from bridge.exports.markdown import code, table

CELL = st.text(st.characters(codec="ascii", exclude_categories=["Cc"], exclude_characters="\\"))


@given(st.lists(st.tuples(CELL, CELL), max_size=5))
def test_every_row_has_the_cells_it_was_given(rows):
    """Cells read back as they were, with whatever is in them."""
    lines = table(("one", "two"), rows).splitlines()

    assert lines[:2] == ["| one | two |", "| --- | --- |"]
    read = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines[2:]]
    assert [tuple(cell[1:-1].replace("\\|", "|") for cell in cells) for cells in read] == rows


def test_code_is_marked():
    """A name is set as code."""
    assert code("state/led") == "`state/led`"
