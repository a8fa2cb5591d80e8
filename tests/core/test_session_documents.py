"""Documents of sessions: their keys, their order, and no tag."""

from dataclasses import replace

from bridge.core.session_documents import auth_reason_name, current_document, last_document
from tests.core.sessions.rows import REPORT, TAG


def test_reasons_have_names():
    """The two offline reasons are named, others numbered, none is none."""
    names = [auth_reason_name(n) for n in (3, 4, 0, None)]
    assert names == ["offline_whitelist", "offline_allow_all", "auth_reason_0", None]


def test_what_could_not_be_read_and_what_cannot_be_is_said():
    """In every document about a session."""
    odd = replace(REPORT, auth_reason=None, incomplete=("auth_reason",), doubtful=("ended_at",))

    assert b'"incomplete":["auth_reason"],"clock":"suspect"' in last_document(odd)
    assert b'"incomplete":[],"clock":"ok"' in last_document(REPORT)
    assert current_document("EH123456", None, 1.5).endswith(b'"incomplete":[],"clock":"ok"}')


def test_no_retained_document_holds_the_tag():
    """Not even hashed."""
    assert TAG.encode() not in last_document(REPORT)
    assert b"sha256" not in last_document(REPORT)
