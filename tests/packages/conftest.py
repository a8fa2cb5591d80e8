"""The release that is tried, and a newer one made from a changed copy of the source.

`make test-packages` builds the release and names its folder in RELEASE; without it these tests are
skipped.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bridge import __version__
from tests.packages import roots
from tools.release import CACHE, copy_source

NEWER = f"{__version__}.post1"
EPOCH = "1800000000"


@pytest.fixture(scope="session")
def release() -> Path:
    """Return the folder of the release."""
    if "RELEASE" not in os.environ:
        pytest.skip("make test-packages builds what is tried here")
    return Path(os.environ["RELEASE"]).resolve()


@pytest.fixture(scope="session")
def newer(release, tmp_path_factory) -> Path:
    """Build a newer release, whose configuration file differs, where there is no git."""
    source = tmp_path_factory.mktemp("newer") / "source"
    copy_source(source)
    init = source / "bridge" / "__init__.py"
    init.write_text(re.sub(r'__version__ = ".*"', f'__version__ = "{NEWER}"', init.read_text()))
    config = source / "deploy" / "deb" / "config.yaml"
    config.write_text(config.read_text() + "\n# A line that older versions do not have.\n")
    (source / CACHE.name).symlink_to(CACHE)
    subprocess.run(
        (sys.executable, "-m", "tools.release", "dist"),
        cwd=source,
        env={**os.environ, "PYTHONPATH": str(source), "SOURCE_DATE_EPOCH": EPOCH},
        check=True,
    )
    return source / "dist"


@pytest.fixture(scope="session")
def files(release, newer, tmp_path_factory) -> Path:
    """Put both packages into the folder that the roots see as /files."""
    folder = tmp_path_factory.mktemp("files")
    for each, name in ((release, "old.deb"), (newer, "new.deb")):
        (package,) = each.glob("*_amd64.deb")
        (folder / name).write_bytes(package.read_bytes())
    return folder


@pytest.fixture(scope="session", params=roots.SUITES)
def fresh(request, files, tmp_path_factory) -> roots.Layer:
    """Return a Debian of each release; tests work above it."""
    try:
        root = roots.made(request.param)
    except roots.CannotBeMade as error:
        pytest.fail(str(error))
    return roots.Layer(str(root), tmp_path_factory.mktemp(request.param) / "layer", files)


@pytest.fixture(scope="session")
def installed(fresh, tmp_path_factory) -> roots.Layer:
    """Return a Debian in which the package was installed, without a network."""
    layer = fresh.above(tmp_path_factory.mktemp("installed") / "layer")
    layer.shell("apt-get install -y -qq /files/old.deb")
    return layer


@pytest.fixture
def debian(fresh, tmp_path) -> roots.Layer:
    """Return a layer of the test's own above a fresh Debian."""
    return fresh.above(tmp_path / "fresh")


@pytest.fixture
def layer(installed, tmp_path) -> roots.Layer:
    """Return a layer of the test's own above an installation."""
    return installed.above(tmp_path / "layer")
