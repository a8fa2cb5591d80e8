"""What is read of wheels, and what is found missing."""

import zipfile

import pytest

from tools.check_lock import PYTHONS
from tools.wheels import MACHINES, missing, read_wheel, read_wheels, supported_tags


def wheel(folder, name, tag, *, version="1.0", metadata="License-Expression: MIT\n", texts=()):
    """Write a wheel with nothing to install."""
    path = folder / f"{name}-{version}-{tag}.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as file:
        head = f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n"
        file.writestr(f"{info}/METADATA", head + metadata)
        for text in texts:
            file.writestr(f"{info}/{text}", f"text of {text}")
    return path


def test_a_wheel_says_what_it_is(tmp_path):
    """Name, version, hash, licence and its texts are read from the file."""
    path = wheel(tmp_path, "Some_Thing", "py3-none-any", texts=["licenses/LICENSE", "RECORD"])
    found = read_wheel(path)
    assert (found.name, found.version, found.licence()) == ("some-thing", "1.0", "MIT")
    assert found.licence_texts() == ("text of licenses/LICENSE",)
    assert found.requirement == f"some-thing==1.0 --hash=sha256:{found.sha256}"


@pytest.mark.parametrize(
    ("metadata", "licence"),
    [
        ("License-Expression: BSD-3-Clause\nLicense: other\n", "BSD-3-Clause"),
        ("Classifier: License :: OSI Approved :: MIT License\nLicense: long\n", "MIT License"),
        ("License: Apache-2.0\n", "Apache-2.0"),
    ],
)
def test_a_licence_is_found_wherever_it_stands(tmp_path, metadata, licence):
    """The expression counts before classifiers, and these before the free text."""
    assert read_wheel(wheel(tmp_path, "a", "py3-none-any", metadata=metadata)).licence() == licence


def test_what_no_wheel_serves_is_named(tmp_path):
    """A package is complete when each Python has a wheel that this machine takes."""
    for python in PYTHONS:
        short = "cp" + python.replace(".", "")
        wheel(tmp_path, "whole", f"{short}-{short}-manylinux_2_17_x86_64.manylinux2014_x86_64")
    wheel(tmp_path, "half", "cp311-cp311-manylinux_2_28_x86_64")
    wheel(tmp_path, "other", "cp311-cp311-manylinux_2_28_aarch64")
    wheel(tmp_path, "plain", "py3-none-any")
    found = list(missing(read_wheels(tmp_path), "x86_64"))
    lacking = [f"half for Python {python} on x86_64" for python in PYTHONS if python != "3.11"]
    assert [line for line in found if line.startswith("half")] == lacking
    assert {line.split()[0] for line in found} == {"half", "other"}


def test_newer_systems_than_debian_12_are_not_asked_for():
    """A wheel for a C library newer than Debian 12's is not taken, one for it is."""
    tags = {str(tag) for tag in supported_tags("3.11", MACHINES["arm64"])}
    assert "cp311-cp311-manylinux_2_36_aarch64" in tags
    assert not any("manylinux_2_37" in tag or "x86_64" in tag for tag in tags)
