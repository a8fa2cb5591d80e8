"""The status page over HTTP."""

import json
import re

import pytest

from bridge.adapters.http import page as module
from bridge.adapters.http.page import ALIVE_EVERY_S, FEED, FILES, LOOK_EVERY_S, MOST_FEEDS, routes
from bridge.adapters.http.server import Feed, Reply
from bridge.core.messages import Publish
from bridge.core.page import StatusPage
from bridge.core.topics import Topics

pytestmark = pytest.mark.anyio

ONE = "EH123456"


@pytest.fixture
def page():
    """A page of one charger that is online."""
    made = StatusPage(Topics())
    made.effect(Publish(f"charger/{ONE}/availability", b"online"))
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


async def test_a_feed_begins_with_everything_and_goes_on_with_changes(page, clock):
    """A snapshot, then what moved; an address in a name stays inside its JSON text."""
    parts = routes(page, clock)[FEED]().parts
    kind, document = read(await anext(parts))
    assert (kind, document["told"]["order"]) == ("snapshot", [ONE])
    hostile = "<script>\n\nevent: x"
    page.effect(Publish(f"charger/{ONE}/state/op_mode", hostile.encode()))
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
    assert sum(clock.slept_s) == pytest.approx(ALIVE_EVERY_S, abs=LOOK_EVERY_S)
    await parts.aclose()


async def test_feeds_are_few_and_their_places_come_free(page, clock):
    """One too many is told so; whoever leaves makes room, and a HEAD takes none."""
    ask = routes(page, clock)[FEED]
    feeds = [ask() for _ in range(MOST_FEEDS)]
    for feed in feeds:
        await anext(feed.parts)
    assert ask().status == 503
    await feeds[0].parts.aclose()
    asked = [ask() for _ in range(MOST_FEEDS)]
    assert all(isinstance(one, Feed) for one in asked)
    for feed in feeds[1:]:
        await feed.parts.aclose()
    assert module.MOST_FEEDS < 32
