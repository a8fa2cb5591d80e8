"""The recipe for evcc, read from its page and run as evcc's plug-in would."""

import time
from pathlib import Path

import pytest

from bridge.core.easee.command_catalogue import CATALOGUE
from bridge.core.easee.command_payloads import read_payload
from bridge.core.topics import Topics
from tests.acceptance.evcc import Evcc, EvccError, jq, seconds, written
from tests.test_documents import blocks

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
[PAGE] = blocks(DOCS / "evcc.md", "yaml")
ONE = "EH000002"


@pytest.mark.anyio
@pytest.mark.acceptance
async def test_the_page_controls_a_charger(stage):
    """Plugged in, paused, resumed under a limit: each attribute says what the charger does."""
    async with stage(chargers=2, authorization_required=False) as s:
        came = {}

        def newest(topic):
            payload = s.witness.retained.get(topic)
            if payload is None:
                return None
            since_s = came.setdefault((topic, payload), time.perf_counter())
            return payload, time.perf_counter() - since_s

        def reads(check):
            def ask():
                try:
                    return check(evcc)
                except EvccError:
                    return False

            return ask

        evcc = Evcc.of_page(PAGE, newest, s.witness.publish)
        await s.witness.until(reads(lambda e: e.status == "A" and e.enabled), "no car, enabled")
        s.cloud.plug_in(ONE)
        await s.witness.until(
            reads(lambda e: e.status == "C" and e.power_w > 3000), "charging with some kW"
        )
        await s.witness.until(reads(lambda e: min(e.currents_a) > 5), "three currents")
        energy_kwh = evcc.energy_kwh

        evcc.set("enable", False)
        paused = await s.witness.final(ONE, "charging_allowed")
        await s.witness.until(reads(lambda e: not e.enabled and e.status == "B"), "paused")
        await s.witness.until(reads(lambda e: e.power_w == 0), "no power")

        evcc.set("enable", True)
        evcc.set("maxcurrent", 10)
        resumed = await s.witness.final(ONE, "charging_allowed", 2)
        limited = await s.witness.final(ONE, "dynamic_charger_current")
        await s.witness.until(reads(lambda e: e.enabled and e.status == "C"), "charging again")
        await s.witness.until(
            reads(lambda e: 5 < max(e.currents_a) < 10.5), "no more than the limit"
        )

        assert [one["state"] for one in (paused, resumed, limited)] == ["confirmed"] * 3
        assert s.witness.retained[f"charger/{ONE}/state/dynamic_charger_current"] == b"10"
        assert energy_kwh >= 0


def test_what_each_setter_writes_is_taken_by_its_command():
    """Both positions of the switch, the limits of a car, one phase and three."""
    said = []
    evcc = Evcc.of_page(PAGE, lambda _: None, lambda topic, text: said.append((topic, text)))
    for name, values in {
        "enable": (True, False),
        "maxcurrent": (6, 16, 32),
        "phases1p3p": (1, 3),
    }.items():
        for value in values:
            evcc.set(name, value)

    assert len(said) == 7
    for topic, text in said:
        target = Topics().parse(topic)
        assert target.charger_id == ONE
        CATALOGUE[target.command].read(read_payload(text.encode()).value, 32)


@pytest.mark.parametrize(
    ("text", "payload", "value"),
    [
        (".", "7", "7"),
        (". > 0", "0", "false"),
        (". > 0", "6", "true"),
        (". > 0", "null", "false"),
        (".value", '{"value":3}', "3"),
        (".label", '{"label":"charging"}', "charging"),
        (".value >= 6", '{"value":6}', "true"),
    ],
)
def test_jq(text, payload, value):
    """The filters that a configuration for this bridge may need."""
    assert jq(text, payload) == value


def test_what_is_no_filter_and_no_json_is_an_error():
    """A filter beyond the subset is not passed over, and a word is no JSON."""
    for text, payload in ((".[] | x", "1"), (".", "online")):
        with pytest.raises(EvccError):
            jq(text, payload)


def test_what_a_setter_writes():
    """The bare value, or the payload with the value in its place."""
    either = "{{if .enable}}6{{else}}0{{end}}"

    assert [written("", "enable", on) for on in (True, False)] == ["true", "false"]
    assert [written(either, "enable", on) for on in (True, False)] == ["6", "0"]
    assert written('{"phases":${phases},"amps":6}', "phases", 3) == '{"phases":3,"amps":6}'


def test_a_timeout_makes_an_old_value_an_error():
    """Without one a value counts for as long as nothing newer comes."""
    old = {"enabled": {"source": "mqtt", "topic": "t", "timeout": "30s"}}
    charger = Evcc(old, lambda _: (b"true", 31.0), lambda *_: None)

    with pytest.raises(EvccError, match="outdated"):
        charger.text(old["enabled"])
    assert Evcc(old, lambda _: (b"true", 29.0), lambda *_: None).enabled
    assert seconds("2m") == 120.0


@pytest.mark.parametrize(
    ("before", "after"),
    [("scale: 1000", "scal: 1000"), ("type: custom", "type: template"), ("status:", "state:")],
)
def test_a_page_with_a_mistake_is_refused(before, after):
    """A key that the plug-in does not know, or a missing attribute, does not pass unnoticed."""
    with pytest.raises(EvccError):
        Evcc.of_page(PAGE.replace(before, after, 1), lambda _: None, lambda *_: None)
