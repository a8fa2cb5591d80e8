"""A promoted standby has every row that was acknowledged."""

from tests.postgres import shared_server
from tests.soak import standby


def test_no_acknowledged_row_is_lost_with_the_primary():
    """`make soak-standby` does it twenty times."""
    shared_server()  # skips
    total = standby.run(1)

    assert len(total.acknowledged) > 20
    assert total.lost == set()
