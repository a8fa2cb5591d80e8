"""The log of an outage stays small, and counts what it leaves out."""

from dataclasses import replace

from bridge import logs
from tests.soak.outage import OUTAGE, Outage

MINUTES = 6


def test_the_log_of_an_outage_is_small_and_every_line_is_in_it_or_counted():
    """Broker and cloud come and go: what repeats itself is written a few times, and summed up."""
    outage = Outage(replace(OUTAGE, hours=MINUTES / 60))
    outage.run()
    written = outage.written

    assert written.lines_of.total() + written.left_out == written.asked
    assert written.lines_of.total() < written.asked / 2
    assert 0 < written.lines_of[logs.REPEATED] <= 2 * MINUTES
    assert 0 < written.lines_of["mqtt.disconnected"] <= 10
    assert written.bytes_of.total() < 20_000
