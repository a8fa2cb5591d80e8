"""``/healthz``: health of bridge, broker, cloud and store.

Rules:

1. A part is well when it does its job now. ``/healthz/<part>`` answers 200 or 503 for one of them.
2. A part that is not well says why, in the words of the alert about it, where there is one.
3. A worker that stands by while others serve every partition has nothing to do with broker, cloud
   and store, and is well.
4. ``/healthz`` is 503 as soon as one part is not well. It is for eyes and alarms; a supervisor
   that restarts what is unhealthy asks ``/healthz/bridge``, because no restart mends a cloud.
"""

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from bridge.adapters.http.server import JSON, Handler, Reply
from bridge.monitoring.metrics import Metrics

PATH = "/healthz"
# Values reach us by one way or the other.
DELIVERING: Final = ("connected", "degraded")

PARTS: Final[Mapping[str, Callable[[Metrics], tuple[bool, str]]]] = {
    # The loop that answers here is the one that does everything else.
    "bridge": lambda _tally: (True, "running"),
    "broker": lambda tally: (tally.broker_up, "connected" if tally.broker_up else "disconnected"),
    "cloud": lambda tally: (tally.cloud in DELIVERING, tally.cloud or "starting"),
    "store": lambda tally: (tally.store_ok, "ok" if tally.store_ok else "failed"),
}


# The alerts that say why a part is not well.
WHY: Final[Mapping[str, tuple[str, ...]]] = {
    "broker": ("broker_unreachable",),
    "cloud": ("login_refused", "auth_failed", "blocked", "cloud_unreachable"),
}


def routes(metrics: Metrics) -> dict[str, Handler]:
    """Return the paths and what answers them."""

    def everything() -> Reply:
        return _reply({name: _part(name, metrics) for name in PARTS})

    def only(name: str) -> Handler:
        return lambda: _reply({name: _part(name, metrics)})

    return {PATH: everything} | {f"{PATH}/{name}": only(name) for name in PARTS}


def _part(name: str, metrics: Metrics) -> Mapping[str, object]:
    if name != "bridge" and metrics.cluster is not None and metrics.cluster.is_standing_by:
        return {"ok": True, "state": "standing by"}
    ok, state = PARTS[name](metrics)
    found: dict[str, object] = {"ok": ok, "state": state}
    why = [metrics.why[kind] for kind in WHY.get(name, ()) if kind in metrics.why]
    return found if ok or not why else found | {"why": why[0]}


def _reply(parts: Mapping[str, Mapping[str, object]]) -> Reply:
    well = all(part["ok"] for part in parts.values())
    return Reply(msgspec.json.encode({"ok": well, "parts": parts}), JSON, 200 if well else 503)
