"""The one import of aiohttp, which only the extra ``demo`` brings."""

from bridge.errors import BridgeError

try:
    import aiohttp
    import aiohttp.web
except ImportError as exc:
    # By file and not by name: a package index gives a name to whoever takes it.
    raise BridgeError(
        "the simulated cloud needs aiohttp: "
        "pip install --no-deps --require-hashes -r requirements/demo.txt"
    ) from exc

web = aiohttp.web
WSMsgType = aiohttp.WSMsgType
