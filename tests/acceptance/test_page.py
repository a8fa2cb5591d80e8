"""The status page in a real browser.

`make acceptance-page` installs Chromium and axe-core, and leaves the pictures in the documentation;
without a browser these tests are skipped.
"""

import asyncio
import functools
import json
import os
from pathlib import Path

import pytest

from tests.acceptance.chromium import BINARY, browsing
from tests.ports import unused_port

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.acceptance,
    pytest.mark.usefixtures("patient_broker"),
    pytest.mark.skipif(BINARY is None, reason="make acceptance-page installs Chromium"),
]

ONE, TWO, THREE, FOUR, FIVE, SIX = (f"EH00000{n}" for n in range(1, 7))
ALERT = "charger/bridge/alert/retained_command"
AXE = Path(__file__).parent / "axe/node_modules/axe-core/axe.min.js"
IN_SIGHT = "document.body.dataset.live === 'yes'"
NO_SCROLL = "document.documentElement.scrollWidth <= innerWidth"


def card(charger_id, then):
    """Write an expression about one charger's card."""
    all_of_them = "[...document.querySelectorAll('article')]"
    find = f"{all_of_them}.find(a => a.textContent.includes('{charger_id}'))"
    return f"(() => {{ const a = {find}; return Boolean(a) && ({then}); }})()"


def says(charger_id, text):
    """Write an expression: the card has this text."""
    return card(charger_id, f"a.textContent.includes('{text}')")


def strip(charger_id, color, pattern):
    """Write an expression: the light is drawn like this."""
    drawn = "a.querySelector('.strip').dataset"
    return card(charger_id, f"{drawn}.color === '{color}' && {drawn}.pattern === '{pattern}'")


@pytest.fixture
def served(stage):
    """Make a stage whose gateway shows its page, and the page's URL."""
    port = unused_port()

    def change(config):
        config["http"] = {"enabled": True, "page": True, "port": port}

    return functools.partial(stage, change=change), f"http://127.0.0.1:{port}/"


@pytest.fixture
def profile(tmp_path_factory):
    """Make a new, empty profile."""
    return tmp_path_factory.mktemp("profile")


@pytest.fixture
def images(tmp_path_factory):
    """Say where pictures go: beside, unless the documentation's are wanted."""
    wanted = os.environ.get("IMAGES")
    return Path(wanted) if wanted else tmp_path_factory.mktemp("images")


async def violations(tab):
    """Have axe-core judge the page as it stands, by every rule it has; return what it finds."""
    await tab.ask(await asyncio.to_thread(AXE.read_text))
    return await tab.ask(
        "axe.run().then(r => r.violations.map(v => `${v.id}: ${v.nodes[0].html}, ${v.help}`))"
    )


async def judge(tab):
    """Judge the page light and dark, on a wall and on a phone."""
    for width in (1280, 390):
        for dark in (False, True):
            await tab.look(width=width, height=1150, dark=dark)
            assert await violations(tab) == [], (width, dark)


async def test_the_page_shows_what_happens(served, profile, images):
    """Lights, sessions, commands and losses appear within seconds, and nothing else is asked."""
    build, url = served
    async with build(chargers=6) as s, browsing(profile) as tab:
        await tab.look(width=1280, height=1180, dark=False)
        await tab.open(url)
        await tab.until(IN_SIGHT)
        await tab.until(says(SIX, "No car"))

        s.cloud.plug_in(ONE)
        await tab.until(says(ONE, "Awaiting authorization"))
        await tab.until(strip(ONE, "white", "flashing") + "||" + strip(ONE, "white", "pulsing"))
        s.cloud.plug_in(TWO)
        s.cloud.plug_in(FIVE)
        for serial in (TWO, FIVE):
            s.witness.publish(f"charger/{serial}/set/start", "PRESS")
            await tab.until(says(serial, "Charging") + "&&" + says(serial, "confirmed"))
            await tab.until(says(serial, "Account"))
        s.witness.publish(f"charger/{FIVE}/set/smart_charging", "true")
        await tab.until(says(FIVE, "Smart charging") + "&&" + says(FIVE, "confirmed"))
        s.witness.publish(f"charger/{FIVE}/set/dynamic_charger_current", "99")
        await tab.until(says(FIVE, "refused"))
        await tab.until(says(TWO, "L1 "))
        house = "document.querySelector('#equalizers').textContent"
        await tab.until(f"{house}.includes('House takes ')")
        s.cloud.set_offline(THREE)
        await tab.until(card(THREE, "a.dataset.online === 'no'") + "&&" + says(THREE, "stale"))
        s.cloud.fail(FOUR, 1)
        await tab.until(card(FOUR, "a.querySelector('.strip').dataset.color === 'red'"))
        s.witness.publish(f"charger/{SIX}/set/pause", "PRESS", retain=True)
        alert = json.loads(await s.witness.until(lambda: s.witness.retained.get(ALERT), "an alert"))
        for part in (alert["message"], alert["hint"], "since "):
            shown = "document.querySelector('#alerts').textContent"
            await tab.until(f"{shown}.includes({json.dumps(part)})")

        await tab.picture(images / "page-light.png")
        await tab.look(width=1280, height=1180, dark=True)
        await tab.picture(images / "page-dark.png")
        await tab.look(width=390, height=1150, dark=True)
        assert await tab.ask(NO_SCROLL)
        await tab.picture(images / "page-phone.png")
        await tab.look(width=390, height=1150, dark=False, still=False)
        moving = "getComputedStyle(a.querySelector('.strip')).animationName !== 'none'"
        assert await tab.ask(card(ONE, moving))
        await tab.look(width=390, height=1150, dark=False, still=True)
        assert not await tab.ask(card(ONE, moving))

        if AXE.exists():
            await judge(tab)

        names = ("", "page.css", "page.js", "page.svg", "page/feed")
        assert tab.requested <= {url + name for name in names}
        assert tab.complaints == []


async def test_a_cloud_that_is_away_is_the_headline(served, profile):
    """Since when, what was last known, and grey cards; the gateway is not called failed."""
    build, url = served
    async with build(chargers=2) as s, browsing(profile) as tab:
        await tab.look(width=1280, height=800, dark=False)
        await tab.open(url)
        await tab.until(IN_SIGHT + "&&" + says(ONE, "No car"))
        ground = "getComputedStyle(a).backgroundColor"
        fresh = await tab.ask(card(ONE, ground))
        s.cloud.block()
        s.cloud.drop_connections()
        shown = "document.querySelector('#away')"
        await tab.until(f"{shown}.innerText.includes('The Easee cloud blocks this address')")
        said = await tab.ask(f"{shown}.innerText")
        assert "Since " in said
        assert "the newest value is of " in said
        assert await tab.ask("document.querySelector('#summary').textContent") == "Not up to date"
        assert await tab.ask(card(ONE, ground)) != fresh
        links = await tab.ask("document.querySelector('.links').innerText")
        assert "failed" not in links
        assert "runs for " in links
        if AXE.exists():
            await judge(tab)
        assert [e for e in tab.events if e["method"] == "Runtime.exceptionThrown"] == []


async def test_the_page_outlives_the_gateway(served, profile):
    """A stopped gateway is said to be gone; when it is back the page is live by itself."""
    build, url = served
    async with build(chargers=1) as s, browsing(profile) as tab:
        await tab.open(url)
        await tab.until(IN_SIGHT + "&&" + says(ONE, "Online"))
        await s.gateway.end()
        await tab.until("!document.querySelector('#lost').hidden")
        await tab.until("document.querySelector('#lost').textContent.includes('What you see is')")
        await s.gateway.start()
        await tab.until(IN_SIGHT + "&&" + says(ONE, "Online"))
        s.cloud.plug_in(ONE)
        await tab.until(says(ONE, "Awaiting authorization"))
        assert [e for e in tab.events if e["method"] == "Runtime.exceptionThrown"] == []


async def test_fifty_chargers_stay_readable(served, profile):
    """Fifty cards stand beside each other, on a wall and on a phone, and none is cut off."""
    build, url = served
    async with build(chargers=50, online=False) as s, browsing(profile) as tab:
        await tab.look(width=1920, height=1080, dark=True)
        await tab.open(url)
        await tab.until("document.querySelectorAll('article[data-online=yes]').length === 50")
        s.cloud.plug_in(ONE)
        await tab.until(says(ONE, "Awaiting authorization"))
        fits = (
            "[...document.querySelectorAll('article')].every(a => a.scrollWidth <= a.clientWidth)"
        )
        for width in (1920, 768, 320):
            await tab.look(width=width, height=1080, dark=True)
            assert await tab.ask(NO_SCROLL), width
            assert await tab.ask(fits), width
        assert tab.complaints == []
