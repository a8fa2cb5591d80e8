"""What cannot be read is kept, named by charger, and over when its session is known."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from bridge.core.alerts import Alerts
from bridge.core.effects import ForgetTexts, KeepText
from bridge.core.records.moment import Timestamp
from bridge.core.records.unread_text import UnreadText
from bridge.core.sessions.unread import MAX_UNREAD, Unread
from tests.core.sessions.rows import HOUR, NOON, ONE, REPORT, TAG
from tests.native import publishes

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOW = Timestamp(NOON + 2 * HOUR, 1000.0)
TOPIC = f"charger/bridge/alert/session_unreadable/{ONE}"
SECOND = timedelta(seconds=1)
# Told when REPORT ended.
TEXT = UnreadText(ONE, f"{TAG}?", "no JSON", "stream", NOON + HOUR, NOON + HOUR + SECOND)
NUMBERED = replace(TEXT, text="?", session_id=435)
TIMED = replace(TEXT, started_at=NOON, measured_at=NOON + 9 * HOUR)


@pytest.fixture
def unread():
    """Nothing is kept yet."""
    return Unread(Alerts(), keep_days=90)


def said(effects):
    """The payloads of alerts."""
    return [effect.payload for effect in publishes(effects)]


@pytest.mark.fault("F49")
def test_a_text_is_kept_and_named_with_what_is_known(unread):
    """Case B2: without the text, for a tag may be in it; a repetition is no news."""
    text = replace(NUMBERED, started_at=NOON)
    effects = list(unread.take(text, NOW))
    (alert,) = publishes(effects)

    assert KeepText(text) in effects
    assert alert.topic == TOPIC
    assert b"number 435 from 2026-11-22T12:00:00Z" in alert.payload
    assert TAG.encode() not in alert.payload
    assert list(unread.take(replace(text, received_at=NOW.wall), NOW)) == []
    assert unread.earliest(ONE) == NOON + HOUR
    assert unread.earliest("EH999999") is None


@pytest.mark.parametrize(
    ("text", "change", "is_over"),
    [
        (NUMBERED, {}, True),
        (NUMBERED, {"session_id": 436}, False),
        (NUMBERED, {"ended_at": NOON + 72 * HOUR}, False),
        (NUMBERED, {"session_id": None}, True),
        # It began after the text was told: the next one, and one of a counter that stands still.
        (TEXT, {"started_at": NOON + HOUR + SECOND, "ended_at": NOON + HOUR + 30 * SECOND}, False),
        (
            replace(NUMBERED, measured_at=NOON + 9999 * HOUR),
            {"started_at": NOON + 24 * HOUR, "ended_at": NOON + 25 * HOUR},
            False,
        ),
        # Its energy is told, and is another one.
        (replace(NUMBERED, text='[{"EnergyKwh":0.411,"Id":435'), {}, True),
        (replace(NUMBERED, text='[{"EnergyKwh":9.5,"Id":435'), {}, False),
        # Its clock was never set, and the list is no wiser about the start.
        (
            replace(NUMBERED, started_at=EPOCH, ended_at=EPOCH + HOUR),
            {"started_at": EPOCH + 9 * HOUR, "doubtful": ("started_at",), "source": "backfill"},
            True,
        ),
        # The end cannot be: told at the same moment, it is the same session.
        *(
            (
                replace(TEXT, ended_at=NOON + 72 * HOUR),
                {"doubtful": ("ended_at",), "measured_at": at},
                at == TEXT.measured_at,
            )
            for at in (TEXT.measured_at, TEXT.measured_at + HOUR)
        ),
        (TIMED, {}, True),
        (TIMED, {"started_at": NOON + timedelta(minutes=16)}, False),
        (TEXT, {}, True),
        (TEXT, {"ended_at": NOON}, False),
        (TEXT, {"charger_id": "EH999999"}, False),
    ],
)
def test_it_is_over_when_a_report_of_its_session_was_stored(unread, text, change, is_over):
    """By its counter, by a time it told, else by when it was told."""
    list(unread.take(text, NOW))
    effects = list(unread.saved(replace(REPORT, **change), NOW, is_new=True))

    assert (ForgetTexts((text.key,)) in effects) is is_over
    assert said(effects) == [b""] * is_over


def test_a_session_that_was_known_before_is_not_the_one_nobody_could_read(unread):
    """A repetition of the session before says nothing of it."""
    list(unread.take(TEXT, NOW))

    assert list(unread.saved(REPORT, NOW, is_new=False)) == []


@pytest.mark.parametrize(
    ("change", "is_over"),
    [
        ({"text": '[{"EnergyKwh":0.411,"Id":435'}, True),
        ({"started_at": EPOCH, "ended_at": EPOCH + HOUR}, True),
        ({"started_at": EPOCH, "ended_at": EPOCH + 3 * HOUR}, False),
        ({}, False),
    ],
)
def test_a_text_that_comes_days_late_is_of_the_session_that_was_known(unread, change, is_over):
    """Its counter, and its energy or how long it lasted, say so; its counter alone does not."""
    late = NOON + 99 * HOUR
    text = replace(NUMBERED, measured_at=NOON + 9999 * HOUR, received_at=late, **change)
    list(unread.take(text, NOW))

    assert bool(said(unread.saved(REPORT, NOW, is_new=False))) is is_over


def test_what_is_told_again_when_its_session_is_known_is_no_news(unread):
    """The stream tells the newest of each charger again whenever it opens; a new stamp is news."""
    list(unread.take(TEXT, NOW))
    list(unread.saved(REPORT, NOW, is_new=True))

    assert list(unread.take(TEXT, NOW)) == []
    assert said(unread.take(replace(TEXT, measured_at=NOON), NOW)) != []


def test_a_row_of_the_list_is_named_again_when_its_session_turns_out_to_be_another(unread):
    """Every look tells it, and by then the counter may have been seen to stand still."""
    listed = replace(NUMBERED, source="backfill")
    list(unread.take(listed, NOW))
    list(unread.told([listed], NOW))

    assert said(unread.take(listed, NOW)) != []


def test_what_the_list_tells_unreadably_and_is_stored_is_over(unread):
    """Another look found out; what is not kept changes nothing."""
    list(unread.take(NUMBERED, NOW))

    assert said(unread.told([TEXT, replace(TEXT, charger_id="EH999999")], NOW)) == []
    assert said(unread.told([NUMBERED, TEXT], NOW)) == [b""]


def test_what_the_store_holds_is_named_again_and_it_gets_what_it_lacks(unread):
    """After a restart, and after the store was in trouble."""
    list(unread.take(NUMBERED, NOW))
    effects = list(unread.opened([replace(TEXT, text="x")], NOW))

    assert [e.text for e in effects if isinstance(e, KeepText)] == [NUMBERED]
    assert len(said(effects)) == 1
    assert said(unread.opened([NUMBERED], NOW)) == []


def test_texts_of_one_charger_are_bounded_and_counted(unread):
    """A charger that tells nothing but nonsense fills no memory."""
    for number in range(MAX_UNREAD + 3):
        effects = list(unread.take(replace(TEXT, text=str(number)), NOW))

    assert any(isinstance(effect, ForgetTexts) for effect in effects)
    assert b"and 18 more" in said(effects)[0]


def test_it_is_given_up_after_retention_s_time(unread):
    """While the clock can be believed; else a year passes in a second."""
    list(unread.take(TEXT, NOW))
    late = NOW.wall + timedelta(days=91)
    assert list(unread.looked(ONE, Timestamp(late, 2000.0, trusted=False))) == []
    assert list(unread.looked(ONE, NOW)) == []

    assert said(unread.looked(ONE, Timestamp(late, 2000.0))) == [b""]
