"""pyeasee's stream into aiomqtt, as people write it: ``pyeasee_aiomqtt.py HUB MQTT CHARGERS``.

pyeasee decodes the value and throws the stamp away; each message is awaited before the next one is
read, which is what its callback invites to.
"""

import asyncio
import sys

import aiomqtt
from pyeasee import Easee


async def main() -> None:
    """Forward until killed."""
    hub_port, mqtt_port, _ = map(int, sys.argv[1:4])
    easee = Easee("someone@example.com", "pw")
    easee.base = f"http://127.0.0.1:{hub_port}"
    easee.sr_base = f"http://127.0.0.1:{hub_port}/hubs/chargers"
    async with aiomqtt.Client("127.0.0.1", mqtt_port) as client:

        async def heard(charger_id: str, _kind: int, number: int, value: object) -> None:
            await client.publish(f"charger/{charger_id}/state/{number}", str(value), 1, retain=True)

        for charger in await easee.get_chargers():
            await easee.sr_subscribe(charger, heard)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
