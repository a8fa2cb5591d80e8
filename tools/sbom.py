"""Write what a release consists of as CycloneDX: ``python -m tools.sbom dist``.

One document names the Python packages that the Debian packages, the image and the add-on bundle:
versions, licences, the hash of each wheel, and what needs what. With the image in the folder a
second one names the image's Debian packages too. Both are checked against CycloneDX's schema.
"""

import json
import re
import sys
import tarfile
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.spdx import is_supported_id
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools.image import content
from tools.release import bundle, source_date, write_sums
from tools.wheels import MACHINES, Wheel, read_wheels

STATUS: Final = "var/lib/dpkg/status"
# What classifiers call them, and SPDX.
SPDX: Final = {
    "Apache Software License": "Apache-2.0",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}


def main(argv: Sequence[str]) -> int:
    """Write the documents of a release."""
    folder = Path(argv[0])
    (own,) = read_wheels(folder)
    bundled = {w.path.name: w for machine in MACHINES.values() for w in bundle(machine)}
    epoch = source_date()
    write(
        python_bom(own, bundled.values(), epoch), folder / f"charger-bridge-{own.version}.cdx.json"
    )
    for archive in folder.glob("*.image.tar.gz"):
        bom = python_bom(own, bundled.values(), epoch)
        debian = tuple(debian_components(archive))
        bom.components.update(debian)
        write(bom, folder / archive.name.replace(".tar.gz", ".cdx.json"))
    write_sums(folder)
    return 0


def python_bom(own: Wheel, bundled: Iterable[Wheel], epoch: int) -> Bom:
    """Describe the bridge and every Python package bundled with it."""
    root = component([own], ComponentType.APPLICATION)
    groups: dict[str, list[Wheel]] = {}
    for wheel in sorted(bundled, key=lambda each: each.path.name):
        groups.setdefault(wheel.name, []).append(wheel)
    components = {name: component(wheels) for name, wheels in groups.items()}
    bom = Bom(components=components.values(), serial_number=serial(root))
    bom.metadata.component = root
    bom.metadata.timestamp = datetime.fromtimestamp(epoch, UTC)
    graph = dependencies(own, {name: wheels[0] for name, wheels in groups.items()})
    for name, needed in graph.items():
        of = root if name == own.name else components[name]
        bom.register_dependency(of, [components[each] for each in sorted(needed)])
    return bom


def component(wheels: Sequence[Wheel], kind: ComponentType = ComponentType.LIBRARY) -> Component:
    """Describe one package and the files it comes in."""
    one = wheels[0]
    purl = PackageURL("pypi", None, one.name, one.version)
    return Component(
        type=kind,
        name=one.name,
        version=one.version,
        purl=purl,
        bom_ref=str(purl),
        licenses=[LicenseFactory().make_from_string(spdx(one))],
        external_references=[
            ExternalReference(
                type=ExternalReferenceType.DISTRIBUTION,
                url=XsUri(wheel.path.name),
                hashes=[HashType(alg=HashAlgorithm.SHA_256, content=wheel.sha256)],
            )
            for wheel in wheels
        ],
    )


def spdx(wheel: Wheel) -> str:
    """Return the licence, by its short name where the metadata or the table above has one."""
    named = str(wheel.metadata()["License"] or "")
    return named if is_supported_id(named) else SPDX.get(wheel.licence(), wheel.licence())


def dependencies(own: Wheel, bundled: Mapping[str, Wheel]) -> dict[str, set[str]]:
    """Map each package to the bundled ones that it asks for, the extras it is asked with included.

    Args:
        own: The bridge; all of its extras are bundled.
        bundled: One wheel of each package.
    """
    graph: dict[str, set[str]] = {name: set() for name in (own.name, *bundled)}
    waiting = [(own, extra) for extra in ("", *own.metadata().get_all("Provides-Extra", []))]
    waiting += [(wheel, "") for wheel in bundled.values()]
    seen = {(wheel.name, extra) for wheel, extra in waiting}
    while waiting:
        wheel, extra = waiting.pop()
        for each in asked_for(wheel, extra):
            name = canonicalize_name(each.name)
            if name in bundled:
                graph[wheel.name].add(name)
                new = {(name, one) for one in each.extras} - seen
                seen |= new
                waiting += [(bundled[name], one) for _, one in new]
    return graph


def asked_for(wheel: Wheel, extra: str) -> Iterator[Requirement]:
    """Yield what a package asks for with an extra alone; with none, what it asks for always."""
    for line in wheel.metadata().get_all("Requires-Dist", []):
        each = Requirement(line)
        is_optional = each.marker is not None and "extra" in str(each.marker)
        if is_optional == bool(extra) and (
            not is_optional or (each.marker and each.marker.evaluate({"extra": extra}))
        ):
            yield each


def serial(root: Component) -> uuid.UUID:
    """Return a serial number that is the same for the same version."""
    return uuid.uuid5(uuid.NAMESPACE_URL, str(root.purl))


def debian_components(archive: Path) -> Iterable[Component]:
    """Describe the Debian packages of an image, from what dpkg notes in it."""
    for entry in dpkg_status(archive).split("\n\n"):
        field = dict(re.findall(r"^(Package|Version|Architecture): (.*)$", entry, re.MULTILINE))
        if field:
            purl = PackageURL(
                "deb", "debian", field["Package"], field["Version"], {"arch": field["Architecture"]}
            )
            yield Component(
                type=ComponentType.LIBRARY,
                name=field["Package"],
                version=field["Version"],
                purl=purl,
                bom_ref=str(purl),
            )


def dpkg_status(archive: Path) -> str:
    """Read dpkg's notes from the newest layer that has them."""
    with tarfile.open(archive) as image:
        manifest = json.loads(content(image, "manifest.json"))
        for name in reversed(manifest[0]["Layers"]):
            with tarfile.open(fileobj=image.extractfile(name)) as layer:
                if STATUS in layer.getnames():
                    return content(layer, STATUS).decode()
    raise ValueError(f"{archive.name} has no Debian inside")


def write(bom: Bom, path: Path) -> None:
    """Write a document that CycloneDX's schema admits.

    Raises:
        ValueError: The schema does not admit it.
    """
    text = JsonV1Dot6(bom).output_as_string(indent=2)
    if problem := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        raise ValueError(f"{path.name}: {problem}")
    path.write_text(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
