"""Optional packages: how a missing one is installed into the environment that runs."""

import shlex
import sys
from importlib.util import find_spec


def missing_extra(extra: str, library: str) -> str:
    """Return what is missing and the command that installs it.

    pip keeps the bridge that is installed and adds what the extra asks for.
    """
    wanted = f"charger-bridge[{extra}]"
    if find_spec("pip") is None:  # uv tool install makes such environments
        return f"{library} is not installed; install the bridge again, as {wanted}"
    return (
        f"{library} is not installed; run: {shlex.quote(sys.executable)} -m pip install {wanted!r}"
    )
