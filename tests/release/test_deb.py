"""The Debian package, as far as it can be judged without installing it."""

import hashlib
import itertools
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.release.test_wheels import wheel
from tools import deb
from tools.check_lock import ROOT
from tools.wheels import read_wheels

EPOCH = 1_700_000_000


@pytest.fixture
def package(tmp_path):
    """Make a package of two small wheels."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    wheel(folder, "charger_bridge", "py3-none-any")
    wheel(folder, "other", "cp311-cp311-manylinux_2_28_x86_64")
    return deb.Package("1.0.0rc1", "amd64", read_wheels(folder), "licences\n", EPOCH)


def test_versions_sort_as_pythons():
    """Dpkg puts what comes before a release before it, and what comes behind behind."""
    written = ["1.0.0.dev1", "1.0.0a1", "1.0.0rc1", "1.0.0", "1.0.0.post1", "1.0.1"]
    versions = [deb.debian_version(version) for version in written]
    for older, newer in itertools.pairwise(versions):
        compared = ("dpkg", "--compare-versions", older, "lt", newer)
        assert subprocess.run(compared, check=False).returncode == 0, (older, newer)


def test_the_unit_is_the_shipped_one_with_a_user_of_its_own():
    """Of the unit for an installation by hand, program, user and passwords change, and no guard."""
    shipped = (ROOT / "deploy" / "charger-bridge.service").read_text()
    found = deb.unit(shipped)
    assert "ExecStart=/usr/bin/charger-bridge run --config /etc/charger-bridge/config.yaml" in found
    assert "User=charger-bridge\n" in found
    assert "/opt/" not in found
    gone = set(shipped.splitlines()) - set(found.splitlines())
    keys = {line.split("=")[0] for line in gone if not line.startswith("#")} - {""}
    assert keys == {"ExecStart", "DynamicUser", "LoadCredential", "Environment"}


def test_the_template_unit_is_made_from_the_unit():
    """What is in deploy/ is what is made; two instances have nothing in common."""
    shipped = (ROOT / "deploy" / "charger-bridge.service").read_text()
    made = deb.template(shipped)
    assert (ROOT / "deploy" / "charger-bridge@.service").read_text() == made

    for text in (made, deb.template_unit(shipped)):
        home, work = (text.replace("%i", name) for name in ("home", "work"))
        assert "--config /etc/charger-bridge/home.yaml" in home
        for key in ("CLIENT_ID", "BASE_TOPIC", "STORE__PATH", "StateDirectory=", "password"):
            lines = [line for line in home.splitlines() if key in line and "=" in line]
            shared = [line for line in lines if "%d" not in line and line[0] != "#"]
            assert not set(shared) & set(work.splitlines()), key


def test_a_unit_that_changed_is_noticed():
    """A line that the package replaces and that is gone stops the build."""
    with pytest.raises(ValueError, match="DynamicUser"):
        deb.unit((ROOT / "deploy" / "charger-bridge.service").read_text().replace("Dynamic", "No"))


def test_the_same_wheels_make_the_same_bytes(package, tmp_path):
    """Two builds are alike in other places with other modes; another time is another file."""
    digests = []
    for name, epoch in (("one", EPOCH), ("two", EPOCH), ("three", EPOCH + 60)):
        tree, out = tmp_path / name / "tree", tmp_path / f"{name}.deb"
        deb.lay_out(package, tree)
        (tree / deb.CONFIG).chmod(0o600)
        deb.pack(tree, out, epoch)
        digests.append(hashlib.sha256(out.read_bytes()).hexdigest())
    assert digests[0] == digests[1] != digests[2]


def test_what_is_inside(package, tmp_path):
    """Everything is root's, the configuration is a conffile, and each wheel has its hash."""
    deb.lay_out(package, tmp_path / "tree")
    out = tmp_path / package.file_name
    deb.pack(tmp_path / "tree", out, EPOCH)
    listed = subprocess.run(("dpkg-deb", "-c", out), check=True, capture_output=True, text=True)
    assert {line.split()[1] for line in listed.stdout.splitlines()} == {"root/root"}
    control = subprocess.run(
        ("dpkg-deb", "-f", out, "Version", "Depends"), check=True, capture_output=True, text=True
    ).stdout
    assert "Version: 1.0.0~rc1" in control
    assert "python3 (>= 3.11), python3 (<< 3.15)" in control
    subprocess.run(("dpkg-deb", "-e", out, tmp_path / "control"), check=True)
    assert (tmp_path / "control" / "conffiles").read_text() == "/etc/charger-bridge/config.yaml\n"
    documents = {
        path.relative_to(tmp_path / "tree" / deb.DOC)
        for path in (tmp_path / "tree" / deb.DOC).rglob("*")
    }
    named = (
        "README.md",
        "docs/node-red.md",
        "docs/evcc.md",
        "examples/node-red",
        "docs/start/shell.md",
    )
    assert {Path(name) for name in named} <= documents
    assert not {"images", "adr"} & {path.name for path in documents}
    required = (tmp_path / "tree" / deb.HOME / "requirements.txt").read_text()
    assert set(re.findall(r"sha256:(\w+)", required)) == {w.sha256 for w in package.wheels}


@pytest.mark.parametrize("script", [*deb.SCRIPTS, "make-environment"])
def test_scripts_are_ones_that_a_small_shell_reads(script):
    """Each maintainer script is for /bin/sh, ends at the first mistake, and has valid syntax."""
    path = deb.SOURCES / script
    assert path.read_text().startswith("#!/bin/sh\n")
    assert re.search(r"^set -eu?$", path.read_text(), re.MULTILINE)
    shell = shutil.which("dash") or "sh"
    assert subprocess.run((shell, "-n", path), check=False).returncode == 0
