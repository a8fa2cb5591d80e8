"""``/``: the status page, and ``/page/feed``, its event stream.

Rules:

1. The page is static and ships with the package. Everything that changes comes over the feed as
   JSON, and the script writes it as text, never as markup.
2. A feed begins with everything, then tells what changed, at most once in :data:`CHECK_EVERY_S`:
   a burst is one message. With nothing to tell it says that it lives.
3. The server bounds how many feeds there are. A browser that is dropped comes back by itself.
"""

from collections.abc import AsyncGenerator
from importlib import resources
from typing import Final

import msgspec

from bridge.adapters.http.server import EventStream, Handler, Reply
from bridge.core.value_format import iso_utc
from bridge.monitoring.status_page import StatusModel
from bridge.ports import Clock

FEED = "/page/feed"
CHECK_EVERY_S = 0.5
ALIVE_EVERY_S = 5.0
FILES: Final = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/page.svg": ("page.svg", "image/svg+xml"),
}


def routes(model: StatusModel, clock: Clock) -> dict[str, Handler]:
    """Return the paths and what answers them."""
    files = {path: _file(*row) for path, row in FILES.items()}
    return files | {FEED: lambda: EventStream(_parts(model, clock))}


def _file(name: str, content_type: str) -> Handler:
    body = (resources.files("bridge.adapters.http") / "static" / name).read_bytes()
    return lambda: Reply(body, content_type)


async def _parts(model: StatusModel, clock: Clock) -> AsyncGenerator[bytes, None]:
    """Yield the whole model, then changes, until the client disconnects."""
    revision = model.revision
    yield b"retry: 2000\n\n" + _event("snapshot", model, model.since(-1), clock)
    told_s = clock.now().mono_s
    while True:
        await clock.sleep(CHECK_EVERY_S)
        if model.revision != revision:
            changed = model.since(revision)
            revision = model.revision
            yield _event("change", model, changed, clock)
        elif clock.now().mono_s >= told_s + ALIVE_EVERY_S:
            yield _event("alive", model, {}, clock)
        else:
            continue
        told_s = clock.now().mono_s


def _event(kind: str, model: StatusModel, told: object, clock: Clock) -> bytes:
    # An age is told by our clock; the tablet's may be wrong.
    document = {"at": iso_utc(clock.now().wall), "heard": model.heard(), "told": told}
    data = msgspec.json.encode(document)
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)
