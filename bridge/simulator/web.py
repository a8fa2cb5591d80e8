"""The one import of aiohttp, which only the extra ``demo`` brings."""

from bridge.errors import BridgeError

try:
    import aiohttp
    import aiohttp.web
except ImportError as exc:
    raise BridgeError(
        "the simulated cloud needs aiohttp: pip install charger-bridge[demo]"
    ) from exc

web = aiohttp.web
WSMsgType = aiohttp.WSMsgType
