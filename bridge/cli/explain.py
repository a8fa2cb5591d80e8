"""``charger-bridge explain``: asks the running bridge why a topic is as it is."""

import sys
from pathlib import Path

from bridge.adapters.local_socket import SOCKET_FILE, ask
from bridge.settings import Settings


def run(settings: Settings, topic: str) -> int:
    """Print the bridge's answer, a sentence a line.

    Raises:
        BridgeError: No bridge runs with this configuration, or it refused.
    """
    answer = ask(Path(settings.state_folder) / SOCKET_FILE, {"explain": topic})
    sys.stdout.write("".join(f"{line}\n" for line in answer.get("lines", [])))
    return 0
