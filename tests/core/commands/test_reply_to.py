import pytest

from bridge.core.commands.reply_to import correlation_text


@pytest.mark.parametrize(
    ("correlation", "text"),
    [
        (None, None),
        (b"", None),
        (b"abc", "abc"),
        (b"\xff", None),
        (b"a\x00", None),
        (b"abcd", None),
    ],
)
def test_printable_correlation_data_is_an_id(correlation, text):
    """Correlation Data is shown as the id where it is a short printable text."""
    assert correlation_text(correlation, 3) == text
