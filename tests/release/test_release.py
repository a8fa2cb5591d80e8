"""Reproducible archives, and wheel and source distribution built twice."""

import hashlib
import os
import tarfile

import pytest

from bridge import __version__
from tests.release.test_wheels import wheel
from tools import addon, release
from tools.wheels import read_wheel, read_wheels

EPOCH = 1_700_000_000


def digest(path):
    """Return the hash of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_wheel_and_source_distribution_are_the_same_twice(tmp_path):
    """Built in two places, both have the same bytes, and the source has what a build needs."""
    found = []
    for name in ("one", "two"):
        work, out = tmp_path / name, tmp_path / f"{name}-out"
        work.mkdir()
        out.mkdir()
        built = release.python_packages(work, out, EPOCH)
        assert read_wheel(built).version == __version__
        found.append({path.name: digest(path) for path in out.iterdir()})
    assert found[0] == found[1]
    assert len(found[0]) == 2


def test_a_folder_is_packed_alike_whatever_its_files_times_and_modes_are(tmp_path):
    """Names are sorted; owner, time and mode of the machine are not kept."""
    packed = []
    for name, mode in (("one", 0o600), ("two", 0o664)):
        folder = tmp_path / name / "folder"
        folder.mkdir(parents=True)
        for each in ("b", "a") if name == "one" else ("a", "b"):
            (folder / each).write_text(each)
            (folder / each).chmod(mode)
            os.utime(folder / each, (mode, mode))
        target = tmp_path / f"{name}.tar.gz"
        release.pack_folder(folder, target, EPOCH)
        packed.append(digest(target))
        with tarfile.open(target) as archive:
            assert archive.getnames() == ["folder", "folder/a", "folder/b"]
            assert {member.mtime for member in archive} == {EPOCH}
    assert packed[0] == packed[1]


def test_the_release_has_one_time(monkeypatch):
    """SOURCE_DATE_EPOCH counts; without it and without git there is none to take."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "12345")
    assert release.source_date() == 12345
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    monkeypatch.setattr(release, "_git", lambda *_: None)
    with pytest.raises(release.NotReleasableError, match="set SOURCE_DATE_EPOCH"):
        release.source_date()


def test_a_package_without_its_licence_is_not_bundled(tmp_path):
    """Every bundled package brings its licence's text, and the list names them all."""
    wheel(tmp_path, "good", "py3-none-any", texts=["licenses/LICENSE"])
    wheels = read_wheels(tmp_path)
    assert "good 1.0: MIT" in release.licences(wheels)
    assert "text of licenses/LICENSE" in release.licences(wheels)
    wheel(tmp_path, "bad", "py3-none-any")
    with pytest.raises(release.NotReleasableError, match=r"bad-1\.0"):
        release.licences(read_wheels(tmp_path))


def test_the_add_on_bundles_only_what_its_options_can_use(tmp_path):
    """Of the wheels of the other packages it has those that its lock names."""
    wheel(tmp_path, "named", "py3-none-any")
    wheel(tmp_path, "extra", "py3-none-any")
    lock = tmp_path / "lock.txt"
    lock.write_text("named==1.0 \\\n    --hash=sha256:00\n")
    assert [w.name for w in release.named_in(lock, read_wheels(tmp_path))] == ["named"]


def test_the_version_stands_in_one_place():
    """The add-on's source and the metadata take the version from the package."""
    config = (addon.SOURCE / addon.NAME / "config.yaml").read_text()
    assert 'version: "7.8.9"' in addon.with_version(config, "7.8.9")
    assert __version__ not in config
    with pytest.raises(ValueError, match="once"):
        addon.with_version(config.replace('version: "0"', ""), "1")


def test_the_add_on_has_the_best_wheel_for_each_machine(tmp_path):
    """For its Python alone, compiled where there is one, and each file once."""
    for tag in ("py3-none-any", "cp313-cp313-manylinux_2_28_x86_64"):
        wheel(tmp_path, "some", tag)
    wheel(tmp_path, "some", "cp312-cp312-manylinux_2_28_x86_64")
    names = {w.path.name for w in addon.usable(read_wheels(tmp_path), "3.13")}
    assert names == {"some-1.0-py3-none-any.whl", "some-1.0-cp313-cp313-manylinux_2_28_x86_64.whl"}
