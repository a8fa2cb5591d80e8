"""The one import of aiohttp, which only the extra ``demo`` brings."""

from bridge.errors import BridgeError
from bridge.extras import missing_extra

try:
    import aiohttp
    import aiohttp.web
except ImportError as exc:
    raise BridgeError(f"the simulated cloud: {missing_extra('demo', 'aiohttp')}") from exc

web = aiohttp.web
WSMsgType = aiohttp.WSMsgType
