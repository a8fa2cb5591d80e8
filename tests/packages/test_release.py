"""What lies beside the packages of a release: sums, licences and the lists of what is inside."""

import hashlib
import json
import subprocess
import tarfile

import pytest

from bridge import __version__
from tools.wheels import MACHINES, read_wheels


@pytest.fixture(scope="module")
def bundled(release, tmp_path_factory):
    """Return the wheels of all Debian packages."""
    found = {}
    for architecture in MACHINES:
        folder = tmp_path_factory.mktemp(architecture)
        (package,) = release.glob(f"*_{architecture}.deb")
        subprocess.run(("dpkg-deb", "-x", package, folder), check=True)
        for wheel in read_wheels(folder / "usr/lib/charger-bridge/wheels"):
            found[wheel.path.name] = wheel
    return found


def test_every_file_has_its_sum(release):
    """SHA256SUMS names each file of the release with its hash, and nothing else."""
    lines = (release / "SHA256SUMS").read_text().splitlines()
    named = {name: digest for digest, name in (line.split("  ") for line in lines)}
    found = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in release.iterdir()
        if path.name != "SHA256SUMS"
    }
    assert named == found
    assert all(__version__ in name for name in named if name != "THIRD-PARTY-LICENSES.txt")


def test_the_list_of_components_is_what_is_bundled(release, bundled):
    """The SBOM has each bundled file with its hash, a licence, and what needs what."""
    bom = json.loads((release / f"charger-bridge-{__version__}.cdx.json").read_text())
    own = bom["metadata"]["component"]
    listed = {
        each["url"]: each["hashes"][0]["content"]
        for component in (own, *bom["components"])
        for each in component["externalReferences"]
    }
    assert listed == {name: wheel.sha256 for name, wheel in bundled.items()}
    licences = [choice for component in bom["components"] for choice in component["licenses"]]
    assert len(licences) == len(bom["components"])
    assert [one for one in licences if "name" in one.get("license", {})] == []
    needed = {each["ref"]: each.get("dependsOn", []) for each in bom["dependencies"]}
    reached, waiting = set(), [own["bom-ref"]]
    while waiting:
        ref = waiting.pop()
        reached.add(ref)
        waiting += set(needed.get(ref, [])) - reached
    assert reached == {own["bom-ref"], *(each["bom-ref"] for each in bom["components"])}


def test_the_image_lists_its_debian_packages_too(release):
    """The image's SBOM names Python and the C library as Debian has them."""
    (path,) = release.glob("*-amd64.image.cdx.json")
    urls = {component["purl"] for component in json.loads(path.read_text())["components"]}
    for start in ("pkg:deb/debian/python3@", "pkg:deb/debian/libc6@", "pkg:pypi/msgspec@"):
        assert any(url.startswith(start) for url in urls), start


def test_every_bundled_package_has_its_licence(release, bundled):
    """The licences name each bundled package with its version."""
    text = (release / "THIRD-PARTY-LICENSES.txt").read_text()
    others = {(wheel.name, wheel.version) for wheel in bundled.values()} - {
        ("charger-bridge", __version__)
    }
    assert others
    for name, version in others:
        assert f"\n{name} {version}: " in text, name


def test_the_add_on_repository_is_whole(release, bundled):
    """The Supervisor finds a repository, an add-on of this version, and wheels of both machines."""
    (path,) = release.glob("*-home-assistant.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
        config = archive.extractfile(f"{path.name[:-7]}/charger_bridge/config.yaml").read()
    assert {"repository.yaml", "charger_bridge/Dockerfile", "charger_bridge/icon.png"} <= names
    assert f'version: "{__version__}"'.encode() in config
    inside = {name.rpartition("/")[2] for name in names if name.endswith(".whl")}
    assert inside <= set(bundled)
    for machine in MACHINES.values():
        assert any(machine in name for name in inside)
