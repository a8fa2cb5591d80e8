"""Facts of sessions: their names, their order, and no tag."""

from dataclasses import replace

from bridge.core.session_documents import auth_reason_name, last_fields
from tests.core.sessions.rows import REPORT, TAG


def test_reasons_have_names():
    """The two offline reasons are named, others numbered, none is none."""
    names = [auth_reason_name(n) for n in (3, 4, 0, None)]
    assert names == ["offline_whitelist", "offline_allow_all", "auth_reason_0", None]


def test_what_could_not_be_read_and_what_cannot_be_is_said():
    """Of every session, also where there is nothing to say."""
    odd = replace(REPORT, auth_reason=None, incomplete=("auth_reason",), doubtful=("ended_at",))

    assert {("incomplete", ("auth_reason",)), ("clock", "suspect")} <= set(last_fields(odd))
    assert {("incomplete", ()), ("clock", "ok")} <= set(last_fields(REPORT))


def test_what_is_told_of_the_last_session_does_not_hold_the_tag():
    """Not even hashed."""
    assert TAG not in repr(last_fields(REPORT))
    assert "sha256" not in repr(last_fields(REPORT))
