"""Files that people name: never waited for, opened only when they are files, read as meant."""

import contextlib
import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.adapters.state_files.plain_file import (
    NotText,
    as_meant,
    kind,
    open_plain,
    read_plain,
    reason,
    require_plain,
    text_of,
)
from tests.intruders import INTRUDERS, PLACED, place

EVERY_WAY = (os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)


@pytest.mark.usefixtures("never_hangs")
@pytest.mark.parametrize("flags", EVERY_WAY)
@pytest.mark.parametrize("intruder", INTRUDERS)
def test_what_is_no_file_is_an_error_that_says_what_it_is(intruder, flags, tmp_path):
    """A pipe, a socket, a device and a folder are named at once, however they are opened."""
    path = tmp_path / "place"
    with place(intruder, path):
        with pytest.raises(OSError, match=f"it is {INTRUDERS[intruder]}, not a file") as caught:
            open_plain(path, flags)
        with pytest.raises(OSError, match=INTRUDERS[intruder]):
            require_plain(path)

    assert caught.value.filename == str(path)


@pytest.mark.usefixtures("never_hangs")
@pytest.mark.parametrize("intruder", INTRUDERS)
def test_what_takes_the_place_in_between_is_refused_too(intruder, tmp_path, monkeypatch):
    """What was a file when it was looked at and is none when it is opened is no file."""
    path = tmp_path / "place"
    monkeypatch.setattr("bridge.adapters.state_files.plain_file.kind", lambda *_, **__: None)
    with place(intruder, path), pytest.raises(OSError, match=r"\w"):
        open_plain(path)


def test_a_file_is_opened_through_a_link_unless_that_is_asked_against(tmp_path):
    """Secrets of containers are links; files of ours never are."""
    (tmp_path / "target").write_bytes(b"inside")
    path = tmp_path / "link"
    path.symlink_to("target")

    assert read_plain(path, 3) == b"ins"
    assert (kind(path), kind(path, follow=False)) == (None, "a link")
    with pytest.raises(OSError, match="it is a link"):
        open_plain(path, os.O_RDONLY | os.O_NOFOLLOW)


def test_no_descriptor_stays_open_behind_a_refusal(tmp_path, monkeypatch):
    """A retry every second would use them all up."""
    monkeypatch.setattr("bridge.adapters.state_files.plain_file.kind", lambda *_, **__: None)
    before = set(Path("/proc/self/fd").iterdir())
    for _ in range(20):
        with pytest.raises(OSError, match="a folder"):
            open_plain(tmp_path)

    assert len(set(Path("/proc/self/fd").iterdir()) - before) <= 1


def test_every_intruder_is_really_one(tmp_path):
    """The places of these tests hold what they say they hold."""
    for number, (intruder, said) in enumerate(INTRUDERS.items()):
        with place(intruder, tmp_path / str(number)):
            assert PLACED[intruder]((tmp_path / str(number)).stat().st_mode)
            assert kind(tmp_path / str(number)) == said


@given(
    text=st.text(st.characters(exclude_characters="\r\n\ufeff\0", codec="utf-8"), max_size=40),
    mark=st.sampled_from(["", "\ufeff", "\ufeff\ufeff"]),
    before=st.sampled_from(["", "\n", "\r\n"]),
    after=st.text(st.sampled_from("\r\n"), max_size=4),
)
def test_what_an_editor_puts_around_a_text_is_not_part_of_it(text, mark, before, after):
    """Byte order marks and line breaks at the ends are taken off, and nothing else."""
    assert as_meant(text_of((mark + before + text + after).encode())) == text


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_wide_text_is_named_as_such(encoding, mark):
    """What Windows calls Unicode says so, and how to save it instead."""
    with pytest.raises(NotText, match=r"is UTF-(16|32) text; save it as UTF-8") as caught:
        text_of((mark + "hunter2-hunter2\r\n").encode(encoding))

    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("raw", [b"caf\xe9", b"\xed\xa0\x80", b"\xfe", b"\xff"])
def test_other_encodings_are_refused_without_repeating_them(raw):
    """A password in Latin-1 would be another one."""
    with pytest.raises(NotText, match=r"is not UTF-8 text \(byte \d\); save it as UTF-8"):
        text_of(raw)


@given(st.binary(max_size=64))
def test_any_bytes_are_text_or_are_not(raw):
    """Nothing but the named error comes of a file's content."""
    with contextlib.suppress(NotText):
        assert not text_of(raw).startswith("\ufeff")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
def test_a_missing_right_names_the_user(number):
    """In a container the number of the user is what the owner of a volume must be."""
    assert reason(OSError(number, "no")) == f"no for uid {os.geteuid()}"


def test_every_other_reason_is_the_systems_own():
    """Without a text of the system's there is the error's, or its kind."""
    assert reason(OSError(errno.ENOENT, "No such file")) == "No such file"
    assert reason(OSError("odd")) == "odd"
    assert reason(OSError()) == "OSError"
