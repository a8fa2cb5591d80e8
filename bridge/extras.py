"""Optional packages: how a missing one is installed into the environment that runs."""

import shlex
import sys


def missing_extra(extra: str, library: str) -> str:
    """Return what is missing and the command that installs it.

    pip keeps the bridge that is installed and adds what the extra asks for.
    """
    python = shlex.quote(sys.executable)
    return f"{library} is not installed; run: {python} -m pip install 'charger-bridge[{extra}]'"
