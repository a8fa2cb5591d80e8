"""Redaction: nothing of others is left, and what is left does the same."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.commands.validation import message_digest
from bridge.core.value_format import pseudonymize
from bridge.recorder.record_file import redacted
from bridge.recorder.redaction import SALT, Redactor, vocabulary
from bridge.recorder.replaying import machine_of, replay
from bridge.recorder.values import plain, value_of
from tests.recorder.recorded import (
    ONE,
    PHONE,
    SECRET,
    SITE,
    STREET,
    TAG,
    TWO,
    VERSION,
    Recorded,
    command,
    said,
    settings_of,
)

CANARIES = ("canary", TAG.lower(), PHONE[1:], "471147", ONE.lower(), TWO.lower(), "4713")


def learned(*values) -> Redactor:
    """Return a redactor that has seen some values."""
    redactor = Redactor(SECRET)
    redactor.learn(*map(plain, values))
    return redactor


@pytest.mark.parametrize("publish", [{}, {"personal_data": True}])
def test_a_redacted_life_has_the_redacted_effects(publish):
    """What the redacted record does is what the process did, redacted: to the last byte."""
    recorded = Recorded(settings_of(**publish))
    recorded.live()
    excerpt, settings = recorded.recorder.excerpt(), recorded.settings
    record, redactor = redacted(excerpt, settings, SECRET, version=VERSION)

    for step, effects in zip(replay(record, machine_of(record)), recorded.effects, strict=True):
        meant = [redactor.plain(plain(effect)) for effect in effects]
        assert [plain(effect) for effect in step.effects] == meant


@pytest.mark.parametrize("publish", [{}, {"personal_data": True}])
def test_nothing_of_others_is_in_a_record(publish):
    """No serial, tag, name, address, account, host or client id, in state, events or settings."""
    recorded = Recorded(settings_of(**publish))
    recorded.live()
    excerpt, settings = recorded.recorder.excerpt(), recorded.settings
    record, _ = redacted(excerpt, settings, SECRET, version=VERSION)
    text = repr((plain(record.settings), record.state, list(record.entries), record.salt)).lower()

    for canary in CANARIES:
        assert canary not in text
    assert SECRET not in text.encode()
    assert pseudonymize(TAG, SECRET)[7:] not in text


@given(st.text(st.characters(codec="utf-8"), min_size=4), st.text(min_size=3))
def test_a_word_that_is_not_ours_does_not_stay(word, around):
    """A word the program does not know is gone from any text, whose length is the same."""
    redactor = learned()
    shown = redactor.text(f"{around} xq{word} {around}")

    assert len(shown) == len(f"{around} xq{word} {around}")
    assert "xq" not in shown.split()


def test_stand_ins_are_stable_and_have_the_same_shape():
    """Case, digits and length stay; equal words have equal stand-ins, another secret has others."""
    redactor = learned()
    shown = redactor.text("Grünerløkka-Kiosk Zylinder42 Zylinder42 zylinder42")
    words = shown.split()

    assert words[1] == words[2]
    assert words[1].lower() == words[3]
    assert words[1][0].isupper()
    assert words[1][-2:].isdigit()
    assert len(shown.encode()) == len(
        b"Gr\xc3\xbcnerl\xc3\xb8kka-Kiosk Zylinder42 Zylinder42 zylinder42"
    )
    assert Redactor(b"another").text("Zylinder42") != words[1]
    assert redactor.text("Zylin") == words[1][:5]


def test_words_of_the_program_numbers_and_times_stay():
    """A reader still sees what it is about."""
    text = "charger op_mode 16 7.25 2026-11-22T12:00:00.123Z charging unknown_charger 1e-05 30s"

    assert learned().text(text) == text
    assert {"charging", "timeout", "observation"} <= vocabulary()
    assert not vocabulary() & {"canary", "sandnes", "kiosk"}


def test_serials_keep_their_order():
    """What is sorted by serial is sorted alike; a serial is one still, in upper and lower case."""
    serials = ["EH900000", "EC000001", "EH123456", "QP777777"]
    redactor = learned(*serials)
    shown = [redactor.text(serial) for serial in serials]

    assert sorted(range(4), key=shown.__getitem__) == sorted(range(4), key=serials.__getitem__)
    assert not set(shown) & {"EH900000", "EH123456", "QP777777"}
    assert all(len(one) == 8 and one[:2].isalpha() and one[2:].isdigit() for one in shown)
    assert redactor.text("charger/eh900000/set") == f"charger/{shown[0].lower()}/set"


def test_below_a_personal_key_everything_goes():
    """Words of the program and short numbers, too; the document is one still."""
    document = json.dumps({"site": {"address": {"street": "State Street 7", "zip": "0150"}}})
    shown = json.loads(learned(document).text(document))

    assert shown["site"]["address"].keys() == {"street", "zip"}
    assert "State" not in shown["site"]["address"]["street"]
    assert shown["site"]["address"]["zip"] != "0150"
    assert len(shown["site"]["address"]["zip"]) == 4


def test_numbers_of_sites_go_wherever_they_are():
    """In a path, in a document and as a number."""
    path = "/api/sites/471147/circuits/471148/dynamicCurrent"
    redactor = learned(path, json.dumps(SITE))
    shown = redactor.text(path)

    assert "471147" not in shown
    assert "471148" not in shown
    assert redactor.plain(471147) == int(shown.split("/")[3])
    assert redactor.plain(16) == 16


def test_addresses_of_machines_go():
    """An IPv4 address in an error text is replaced, a version number is not."""
    shown = learned().text("no route to 192.168.17.4, charger 3.1.1")

    assert "192.168.17.4" not in shown
    assert "3.1.1" in shown


def test_hashes_are_those_of_the_stand_ins():
    """A redelivery is recognised, and a tag has the pseudonym of its stand-in."""
    message = command("start", {"value": True, "id": "canary-command"})
    redactor = learned(message, said(128, TAG))
    again = value_of(redactor.plain(plain(message)))

    assert redactor.text(message_digest(message)) == message_digest(again)
    assert redactor.text(pseudonymize(TAG, SECRET)) == pseudonymize(redactor.text(TAG), SALT)


def test_bytes_that_are_no_text_are_replaced():
    """Correlation Data and packed data keep their length and nothing else."""
    shown = learned().bytes(b"\xff\xfecanary" * 9)

    assert len(shown) == 72
    assert b"canary" not in shown
    assert learned().bytes(SECRET) == SALT


def test_names_of_classes_and_fields_stay():
    """The form of a record is not redacted, only what it holds."""
    redactor = learned()

    for value in (said(1, "x"), Recorded().settings):
        kept = redactor.plain(plain(value))
        assert kept[:3] == plain(value)[:3]
    assert redactor.plain(["x", "KeyError", ["t", "canaryword"], ["m", "dict"]])[:2] == [
        "x", "KeyError",
    ]  # fmt: skip
    assert STREET not in repr(redactor.plain(plain({STREET: (STREET, [STREET])})))
