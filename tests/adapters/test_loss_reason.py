"""A loss is reported once for each reason."""

from hypothesis import given
from hypothesis import strategies as st

from bridge.adapters.loss_reason import LossReason

REASONS = st.sampled_from(["", "refused", "silent"])


@given(st.lists(st.none() | REASONS))
def test_a_reason_is_new_after_another_one_and_after_a_connection(happened):
    """Of losses in a row for one reason the first alone is new; None is a connection."""
    losses, before = LossReason(), None

    for reason in happened:
        if reason is None:
            losses.clear()
        else:
            assert losses.is_new(reason) == (reason != before)
        before = reason
