"""Writing of a record: what a reader gets is complete, dated and compared."""

from bridge.core.value_format import iso_utc
from bridge.recorder.checking import differences
from bridge.recorder.record_file import read
from bridge.recorder.writing import content_of
from tests import canaries
from tests.recorder.recorded import SECRET, VERSION, Recorded


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
