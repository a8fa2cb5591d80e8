import subprocess
import sys

from bridge.extras import missing_extra

PROGRAM = """
import sys
sys.modules["aiohttp"] = None
from bridge.errors import BridgeError
try:
    import bridge.simulator.server
except BridgeError as exc:
    print(exc)
"""


def test_a_missing_aiohttp_is_explained():
    """Without the extra there is one line that says what to install."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=30
    )

    assert missing_extra("demo", "aiohttp") in done.stdout
    assert done.stdout.count("\n") == 1
