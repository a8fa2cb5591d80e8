"""Drives pyeasee, unchanged, in a process of its own: it patches websockets for its whole process.

Arguments: the API's URL and the hub's. See :mod:`driven` for the lines.
"""

import asyncio
import json
import sys
from datetime import UTC, datetime, timedelta

from pyeasee import Easee
from pyeasee.charger import Charger

WATCHED = (109, 46, 96, 31, 250, 124)


def say(*words: object) -> None:
    """Print one line."""
    sys.stdout.write(json.dumps(words, default=str) + "\n")
    sys.stdout.flush()


async def heard(charger_id: str, data_type: int, observation_id: int, value: object) -> None:
    """Report a value of the stream."""
    say("value", charger_id, observation_id, value, data_type)


async def plain(result: object) -> object:
    """Turn what pyeasee returns into JSON."""
    if hasattr(result, "status"):
        text = await result.text()
        return {"status": result.status, "body": json.loads(text) if text else None}
    return result.get_data() if hasattr(result, "get_data") else result


class Driver:
    """One account."""

    def __init__(self, api_url: str, stream_url: str) -> None:
        self.easee = Easee("someone@example.com", "pw")
        self.easee.base = api_url
        self.easee.sr_base = stream_url
        self.chargers: dict[str, Charger] = {}

    async def read(self) -> dict[str, object]:
        """Read everything pyeasee's users read."""
        listed = await self.easee.get_chargers()
        self.chargers = {one.id: one for one in listed}
        first = listed[0]
        sites = await self.easee.get_sites()
        state = await self.easee.get_site_state(sites[0].id)
        products = await self.easee.get_account_products()
        now = datetime.now(UTC)  # noqa: TID251 - a client has a clock of its own
        month_ago = now - timedelta(days=30)
        (equalizer,) = sites[0].get_equalizers()
        sessions = await first.get_sessions_between_dates(month_ago, now)
        return {
            "chargers": list(self.chargers),
            "config": (await first.get_config()).get_data(),
            "observations": await first.get_observations(*WATCHED),
            "site": sites[0].get_data(),
            "circuits": [
                [one.id for one in circuit.get_chargers()] for circuit in sites[0].get_circuits()
            ],
            "site_config": state.get_charger_config(first.id).get_data(),
            "site_state": state.get_charger_state(first.id).get_data(),
            "equalizer": {
                "id": equalizer.id,
                "config": (await equalizer.get_config()).get_data(),
                "state": (await equalizer.get_state()).get_data(),
                "observations": await equalizer.get_observations(40, 41, 87),
                "surplus": await equalizer.get_load_balancing(),
                "firmware": await equalizer.get_latest_firmware(),
            },
            "products": [one.get_data() for one in products],
            "sessions": [one.get_data() for one in sessions],
            "total": await first.get_consumption_between_dates(month_ago, now),
            "hours": await first.get_hourly_consumption_between_dates(month_ago, now),
            "properties": await self.easee.get_observation_properties(),
            "firmware": await first.get_latest_firmware(),
            "operator": await first.get_operator(),
        }

    async def equalizer(self, method: str, *arguments: object) -> object:
        """Call a method of the Equalizer."""
        (site,) = await self.easee.get_sites()
        return await plain(await getattr(site.get_equalizers()[0], method)(*arguments))

    async def charger(self, charger_id: str, method: str, *arguments: object) -> object:
        """Call a method of a charger."""
        return await plain(await getattr(self.chargers[charger_id], method)(*arguments))

    async def plan(self, charger_id: str) -> object:
        """Write a nightly charge plan."""
        start = datetime(2026, 1, 1, 22, tzinfo=UTC)
        stop = start + timedelta(hours=8)
        write = self.chargers[charger_id].set_basic_charge_plan
        return await plain(await write("1", start, stop, limit=16))

    async def circuit(self, method: str, *arguments: object) -> object:
        """Call a method of the first circuit."""
        (site,) = await self.easee.get_sites()
        return await plain(await getattr(site.get_circuits()[0], method)(*arguments))

    async def subscribe(self) -> None:
        """Subscribe every charger."""
        for one in self.chargers.values():
            await self.easee.sr_subscribe(one, heard)
        (site,) = await self.easee.get_sites()
        for equalizer in site.get_equalizers():
            await self.easee.sr_subscribe(equalizer, heard)

    async def obey(self, number: int, method: str, *arguments: object) -> None:
        """Carry one line out and answer it; an error is answered by its name."""
        try:
            answer = await getattr(self, method)(*arguments)
        except Exception as exc:  # noqa: BLE001 - whatever it raises is the answer
            answer = {"error": type(exc).__name__, "text": str(exc)}
        say("answer", number, answer)


async def main() -> None:
    """Obey lines until there are no more."""
    driver = Driver(*sys.argv[1:])
    try:
        while line := await asyncio.to_thread(sys.stdin.readline):
            await driver.obey(*json.loads(line))
    finally:
        await driver.easee.close()


asyncio.run(main())
