"""The status page over HTTP."""

import json
import re

import pytest

from bridge.adapters.http.page import ALIVE_EVERY_S, CHECK_EVERY_S, FEED, FILES, routes
from bridge.adapters.http.server import Reply
from bridge.core.changes import AvailabilityChanged, DerivedChanged
from bridge.monitoring.status_page import StatusModel
from tests.conftest import NOON

pytestmark = pytest.mark.anyio

ONE = "EH123456"


@pytest.fixture
def page():
    """A page of one charger that is online."""
    made = StatusModel(lambda: NOON)
    made.change(AvailabilityChanged(ONE, is_online=True))
    return made


def read(part):
    """Take a piece of a feed apart: its kind and its document."""
    kind, data = re.search(rb"event: (\w+)\ndata: (.*)\n\n\Z", part).groups()
    return kind.decode(), json.loads(data)


async def test_every_file_is_in_the_package(page, clock):
    """Each file of the page is found and says what it is."""
    table = routes(page, clock)
    for path, (_, content_type) in FILES.items():
        reply = table[path]()
        assert isinstance(reply, Reply)
        assert (reply.content_type, reply.status) == (content_type, 200)
        assert len(reply.body) > 100


async def test_the_page_needs_nothing_from_elsewhere(page, clock):
    """No address of another host, no inline script or style, no markup written by the script."""
    texts = {path: routes(page, clock)[path]().body.decode() for path in FILES}
    for path, text in texts.items():
        assert set(re.findall(r"https?://[^\s\"']+", text)) <= {"http://www.w3.org/2000/svg"}, path
    assert re.search(r"<style|style=|<form|<input|\son\w+=|<script(?! src=)", texts["/"]) is None
    assert (
        re.search(r"innerHTML|outerHTML|insertAdjacent|eval\(|fetch\(", texts["/page.js"]) is None
    )


async def test_the_page_works_below_any_path(page, clock):
    """Behind a proxy that adds a path, every address of the page is relative to the page."""
    texts = {path: routes(page, clock)[path]().body.decode() for path in ("/", "/page.js")}
    named = re.findall(
        r"(?:href|src)=\"([^\"]+)\"|EventSource\(\"([^\"]+)\"\)", "".join(texts.values())
    )
    addresses = ["".join(pair) for pair in named]
    assert len(addresses) == len(FILES)
    assert {f"/{address}" for address in addresses} <= {*FILES, FEED}


def luminance(colour):
    """Return the relative luminance of ``#rrggbb``, as WCAG 2 defines it."""
    parts = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    """Return the contrast ratio of two colours, 1 to 21."""
    dark, bright = sorted((luminance(one), luminance(other)))
    return (bright + 0.05) / (dark + 0.05)


def test_contrast_is_measured_as_the_standard_says():
    """Black on white is 21, and the grey that just passes is known."""
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_text_can_be_read(page, clock, theme):
    """Each text colour is AA (4.5) on a card and beside it, and nothing fades a text."""
    css = routes(page, clock)["/page.css"]().body.decode()
    light, dark = (
        dict(re.findall(r"--(\w+): (#[0-9a-f]{6});", block))
        for block in re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    )
    colours = light if theme == "light" else light | dark
    written = set(re.findall(r"[\s{]color: ([^;]+);", css))
    used = {one.removeprefix("var(--").removesuffix(")") for one in written}
    assert used == {"text", "soft", "good", "warn", "bad"}
    for text in used:
        for ground in ("card", "ground", "stale"):
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    faded = re.findall(r"([^{}\n]+) \{[^{}]*(?:opacity|filter):", css)
    parts = {selector.split()[-1] for one in faded for selector in one.split(",")}
    assert {part for part in parts if not part.endswith("%")} == {".box", ".strip"}


async def test_a_feed_begins_with_everything_and_goes_on_with_changes(page, clock):
    """A snapshot, then what moved; an address in a name stays inside its JSON text."""
    parts = routes(page, clock)[FEED]().parts
    kind, document = read(await anext(parts))
    assert (kind, document["told"]["order"]) == ("snapshot", [ONE])
    hostile = "<script>\n\nevent: x"
    page.change(DerivedChanged(ONE, "op_mode", hostile))
    part = await anext(parts)
    kind, document = read(part)
    assert kind == "change"
    assert document["told"]["chargers"][0]["values"] == {"op_mode": hostile}
    assert part.count(b"\n") == 3
    await parts.aclose()


async def test_a_quiet_feed_says_that_it_lives(page, clock):
    """With nothing to tell, a sign of life comes within seconds, and carries the time."""
    parts = routes(page, clock)[FEED]().parts
    await anext(parts)
    kind, document = read(await anext(parts))
    assert (kind, document["told"]) == ("alive", {})
    assert sum(clock.slept_s) == pytest.approx(ALIVE_EVERY_S, abs=CHECK_EVERY_S)
    await parts.aclose()
