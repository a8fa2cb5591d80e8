"""Writing of a record: what a reader gets is complete, dated and compared."""

import tracemalloc
from functools import partial

from bridge.core.events import ObservationsReceived
from bridge.core.value_format import iso_utc
from bridge.recorder.checking import differences
from bridge.recorder.record_file import read
from bridge.recorder.writing import content_of
from tests import canaries
from tests.recorder.recorded import SECRET, VERSION, Recorded, said


def test_a_record_says_when_and_why_and_what_it_did():
    """The file has its reason, its time, the version and a digest for each event."""
    recorded = Recorded()
    recorded.live()
    content, serials = content_of(
        recorded.recorder.excerpt(),
        recorded.settings,
        SECRET,
        version=VERSION,
        reason="signal",
        now=recorded.now,
    )
    record = read(content)

    assert (record.reason, record.version) == ("signal", VERSION)
    assert record.written_at == iso_utc(recorded.now.wall)
    assert len(record.digests) == len(recorded.effects)
    assert serials.keys() == {"EH123456", "EH234567"}
    assert list(differences(record, VERSION)) == []
    assert canaries.found_in(content) == []


def test_a_record_is_written_in_a_part_of_the_memory_that_its_entries_would_take():
    """Entries are unpacked, redacted and packed one by one: the process may have little memory."""
    recorded = Recorded(unpacked_bytes=0)
    recorded.live()
    for number in range(600):
        values = tuple(said(120, str(number), second=place) for place in range(40))
        recorded.handle(ObservationsReceived(values))
        recorded.recorder.pack(recorded.now.mono_s)
    excerpt = recorded.recorder.excerpt()
    write = partial(
        content_of, excerpt, recorded.settings, SECRET,
        version=VERSION, reason="signal", now=recorded.now,
    )  # fmt: skip
    content, _ = write()

    assert peak(write) < peak(excerpt.entries) / 2
    assert len(read(content).digests) == len(recorded.effects)


def peak(function) -> int:
    """Return the most memory that a function takes."""
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
