"""Any text can be kept, also one that PostgreSQL refuses."""

from hypothesis import given
from hypothesis import strategies as st

from bridge.adapters.store.postgres.text_escapes import escaped, unescaped

texts = st.text(st.sampled_from("a0\\\0n"))


@given(st.lists(texts | st.integers() | st.binary() | st.none()))
def test_a_row_comes_back_as_it_was(row):
    """Without the character that PostgreSQL refuses in between."""
    kept = escaped(row)

    assert unescaped(kept) == tuple(row)
    assert not any("\0" in each for each in kept if isinstance(each, str))


@given(texts, texts)
def test_two_texts_stay_two(one, other):
    """A key is never another one's."""
    assert (escaped([one]) == escaped([other])) == (one == other)
