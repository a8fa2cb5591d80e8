"""Responses about chargers and sites, built from the last observations."""

from collections.abc import Mapping
from datetime import datetime

from bridge.simulator import usage
from bridge.simulator.charger import Charger
from bridge.simulator.equalizer import Equalizer
from bridge.simulator.readings import stamp, utc_text
from bridge.simulator.world import SITE_ID, World

PRODUCT_HOME = 1
ADMIN = 1

# Keys of the configuration, and the observation each one repeats; None is always null.
CONFIG: Mapping[str, int | None] = {
    "isEnabled": 31,
    "lockCablePermanently": 30,
    "authorizationRequired": 42,
    "remoteStartRequired": 43,
    "smartButtonEnabled": 44,
    "wiFiSSID": 36,
    "detectedPowerGridType": 21,
    "offlineChargingMode": 45,
    "circuitMaxCurrentP1": 22,
    "circuitMaxCurrentP2": 23,
    "circuitMaxCurrentP3": 24,
    "enableIdleCurrent": 37,
    "limitToSinglePhaseCharging": None,
    "phaseMode": 38,
    "localNodeType": 146,
    "localAuthorizationRequired": 41,
    "localRadioChannel": 147,
    "localShortAddress": 148,
    "localParentAddrOrNumOfNodes": 149,
    "localPreAuthorizeEnabled": 15,
    "localAuthorizeOfflineEnabled": 16,
    "allowOfflineTxForUnknownId": 17,
    "maxChargerCurrent": 47,
    "ledStripBrightness": 40,
    "chargingSchedule": 62,
}

# The same for the state inside a site's state.
STATE: Mapping[str, int | None] = {
    "smartCharging": 102,
    "cableLocked": 103,
    "chargerOpMode": 109,
    "totalPower": 120,
    "sessionEnergy": 121,
    "energyPerHour": 122,
    "wiFiRSSI": 132,
    "cellRSSI": 130,
    "localRSSI": 136,
    "outputPhase": 110,
    "dynamicCircuitCurrentP1": 111,
    "dynamicCircuitCurrentP2": 112,
    "dynamicCircuitCurrentP3": 113,
    "chargerFirmware": 80,
    "voltage": 194,
    "chargerRAT": 141,
    "lockCablePermanently": 30,
    "inCurrentT2": 182,
    "inCurrentT3": 183,
    "inCurrentT4": 184,
    "inCurrentT5": 185,
    "outputCurrent": 114,
    "isOnline": 250,
    "inVoltageT1T2": 190,
    "inVoltageT1T3": 191,
    "inVoltageT1T4": 192,
    "inVoltageT1T5": 193,
    "inVoltageT2T3": 194,
    "inVoltageT2T4": 195,
    "inVoltageT2T5": 196,
    "inVoltageT3T4": 197,
    "inVoltageT3T5": 198,
    "inVoltageT4T5": 199,
    "ledMode": 46,
    "cableRating": 104,
    "dynamicChargerCurrent": 48,
    "circuitTotalAllocatedPhaseConductorCurrentL1": 70,
    "circuitTotalAllocatedPhaseConductorCurrentL2": 71,
    "circuitTotalAllocatedPhaseConductorCurrentL3": 72,
    "circuitTotalPhaseConductorCurrentL1": 73,
    "circuitTotalPhaseConductorCurrentL2": 74,
    "circuitTotalPhaseConductorCurrentL3": 75,
    "reasonForNoCurrent": 96,
    "wiFiAPEnabled": 68,
    "lifetimeEnergy": 124,
    "offlineMaxCircuitCurrentP1": 50,
    "offlineMaxCircuitCurrentP2": 51,
    "offlineMaxCircuitCurrentP3": 52,
    "errorCode": 119,
    "fatalErrorCode": 219,
    "errors": None,
    "eqAvailableCurrentP1": 230,
    "eqAvailableCurrentP2": 231,
    "eqAvailableCurrentP3": 232,
    "deratedCurrent": 115,
    "deratingActive": 116,
    "connectedToCloud": 250,
}

CIRCUIT: Mapping[str, int | None] = {
    **{f"dynamicCircuitCurrentP{phase}": 110 + phase for phase in (1, 2, 3)},
    **{f"maxCircuitCurrentP{phase}": 21 + phase for phase in (1, 2, 3)},
    **{f"offlineMaxCircuitCurrentP{phase}": 49 + phase for phase in (1, 2, 3)},
    "enableIdleCurrent": 37,
}


def observations(charger: Charger | Equalizer, ids: list[int]) -> dict[str, object]:
    """Build ``/state/{id}/observations``; what was never sent is absent."""
    return {
        "observations": [
            {
                "id": observation_id,
                "value": charger.readings[observation_id].value,
                "dataType": charger.readings[observation_id].data_type,
                "timestamp": stamp(observation_id, charger.readings[observation_id].measured_at),
            }
            for observation_id in ids
            if observation_id in charger.readings
        ]
    }


def repeated(charger: Charger | Equalizer, keys: Mapping[str, int | None]) -> dict[str, object]:
    """Build a document whose values repeat observations."""
    return {
        key: None
        if observation_id is None or observation_id not in charger.readings
        else charger.readings[observation_id].value
        for key, observation_id in keys.items()
    }


def config(charger: Charger) -> dict[str, object]:
    """Build ``/api/chargers/{id}/config``."""
    return repeated(charger, CONFIG) | {
        "limitToSinglePhaseCharging": charger.settings.get("limitToSinglePhaseCharging")
    }


def state(charger: Charger) -> dict[str, object]:
    """Build the ``chargerState`` that stands in a site's state."""
    latest = max(reading.measured_at for reading in charger.readings.values())
    return repeated(charger, STATE) | {"latestPulse": utc_text(latest)}


def entry(charger: Charger) -> dict[str, object]:
    """Build the entry of a charger in a list."""
    return {
        "id": charger.id,
        "name": f"Charger {charger.id[-2:]}",
        "color": 4,
        "createdOn": "2025-03-06T08:52:52.512105",
        "updatedOn": "2026-06-19T06:02:11.481",
        "backPlate": None,
        "levelOfAccess": ADMIN,
        "productCode": PRODUCT_HOME,
        "userRole": ADMIN,
    }


def one(world: World, charger: Charger) -> dict[str, object]:
    """Build ``/api/chargers/{id}``."""
    primary = world.circuit(world.circuit_of(charger.id))[0]
    return entry(charger) | {
        "backPlate": {
            "id": charger.value(107),
            "masterBackPlateId": primary.value(107),
            "name": f"Charger {charger.id[-2:]}",
            "circuitId": world.circuit_of(charger.id),
            "features": 0,
        }
    }


def details(charger: Charger) -> dict[str, object]:
    """Build ``/api/chargers/{id}/details``, with the secret ``pinCode``."""
    return {
        "serialNumber": charger.id,
        "pinCode": "4711",
        "product": "Easee Home",
        "unitType": "ChargingRobot",
        "levelOfAccess": ADMIN,
        "partner": None,
    }


def sites(world: World) -> list[dict[str, object]]:
    """Build ``/api/accounts/products``."""
    return [site(world, site_id) for site_id in world.site_ids()]


def site(
    world: World, site_id: int = SITE_ID, circuit_ids: list[int] | None = None
) -> dict[str, object]:
    """Build a site.

    Args:
        world: All of it.
        site_id: Which one.
        circuit_ids: Which circuits to show; None for all of it.
    """
    return {
        "id": site_id,
        "uuid": f"5e000000-0000-4000-8000-{site_id:012d}",
        "siteKey": f"EASE-{site_id}",
        "name": "Simulated site",
        "levelOfAccess": ADMIN,
        "userRole": ADMIN,
        "siteType": 1,
        "ratedCurrent": 63.0,
        **world.price,
        "accessMode": 0,
        "allowedSiteActions": [],
        "address": {"street": "Main street 1", "city": "Sandnes", "country": None},
        "contactInfo": {"installerName": None, "ownerName": None},
        "equalizers": [
            equalizer(world, one) for one in world.equalizers.values() if site_id == SITE_ID
        ],
        "circuits": [circuit(world, one) for one in circuit_ids or world.circuits_of(site_id)],
    }


def users() -> list[dict[str, object]]:
    """Build ``/api/sites/{id}/users``."""
    return [
        {
            "userId": 4711,
            "email": "someone@example.com",
            "firstName": "Some",
            "lastName": "One",
            "userRole": ADMIN,
        }
    ]


def easee_keys() -> list[dict[str, object]]:
    """Build ``/api/accounts/easeekeys``."""
    return [{"id": 1, "name": "Some One", "token": "04AABBCCDDEE01", "isActive": True}]


def breakdown(world: World, start: datetime, stop: datetime) -> list[dict[str, object]]:
    """Build ``/api/sites/{id}/breakdown/{from}/{to}``: energy and cost by charger."""
    found = []
    for charger in world.chargers.values():
        energy_kwh = usage.total_kwh(charger, start, stop)
        found.append(
            {
                "chargerId": charger.id,
                "totalEnergyUsage": energy_kwh,
                "totalCost": usage.total_cost(charger, start, stop),
                "currencyId": world.price["currencyId"],
            }
        )
    return found


def equalizer(world: World, one: Equalizer) -> dict[str, object]:
    """Build ``/api/equalizers/{id}``, and its entry in a site."""
    return {
        "id": one.id,
        "name": f"Equalizer {one.id[-2:]}",
        "siteId": SITE_ID,
        "circuitId": next(iter(world.circuit_ids())),
        "levelOfAccess": ADMIN,
        "createdOn": "2025-03-06T08:52:52.512105",
        "updatedOn": "2026-06-19T06:02:11.481",
    }


def circuit(world: World, circuit_id: int) -> dict[str, object]:
    """Build a circuit with its chargers."""
    members = world.circuit(circuit_id)
    return {
        "id": circuit_id,
        "uuid": f"5e000000-0000-4000-8000-{circuit_id:012d}",
        "siteId": world.site_of(circuit_id),
        "circuitPanelId": circuit_id - SITE_ID,
        "panelName": f"F{circuit_id}",
        "ratedCurrent": 32.0,
        "fuseCurrent": 32.0,
        "useDynamicMaster": False,
        "parentCircuitId": None,
        "masterBackplate": None,
        "chargers": [entry(charger) for charger in members],
    }


def site_state(world: World, site_id: int) -> dict[str, object]:
    """Build ``/api/sites/{id}/state``."""
    return {
        "site": site(world, site_id),
        "circuitStates": [
            {
                "circuit": circuit(world, circuit_id),
                "chargerStates": [
                    {
                        "chargerID": charger.id,
                        "chargerConfig": config(charger),
                        "chargerState": state(charger),
                    }
                    for charger in world.circuit(circuit_id)
                ],
            }
            for circuit_id in world.circuits_of(site_id)
        ],
    }
