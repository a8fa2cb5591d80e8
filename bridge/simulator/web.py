"""The one import of aiohttp, which only the extra ``demo`` brings."""

from bridge.errors import BridgeError

try:
    import aiohttp
    import aiohttp.web
except ImportError as exc:
    # By file and not by name: names in a package index are not reserved.
    raise BridgeError(
        "the simulated cloud needs aiohttp: "
        "pip install --no-deps --require-hashes -r requirements/demo.txt"
    ) from exc

web = aiohttp.web
WSMsgType = aiohttp.WSMsgType
