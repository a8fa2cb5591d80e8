"""Initial observations of a charger: over a hundred with old timestamps.

A subscription replays them all. Values are those of a healthy three-phase charger on a TN grid
with no car; a few differ per charger.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from types import MappingProxyType

from bridge.simulator.charger import Charger
from bridge.simulator.equalizer import MAX_ALLOCATED_A, site_structure
from bridge.simulator.observation_table import CHARGER_OBSERVATIONS
from bridge.simulator.readings import Reading, Value, data_type_of, fitted, trimmed
from bridge.simulator.sessions import AUTH_TAG, Session, finished_text, started_text

FIRMWARE = 334
LATEST_FIRMWARE = 338
PAST_SESSIONS = 5

# Said at the last start of the charger, some days ago.
AT_START: Mapping[int, Value] = MappingProxyType(
    {
        **dict.fromkeys((37, 39, 41, 43, 44, 56, 68, 102), False),
        **dict.fromkeys((15, 17), False),
        **dict.fromkeys((16, 31, 42), True),
        **dict.fromkeys((22, 23, 24, 47, 48), 32.0),
        **dict.fromkeys((111, 112, 113), 40.0),
        **dict.fromkeys((50, 51, 52), 16),
        **dict.fromkeys((11, 18, 19, 83, 123, 127, 142, 143, 144, 145), 0),
        1: "PASSED",
        2: '{"relay":"OK","pen":"OK"}',
        20: site_structure(MAX_ALLOCATED_A),
        25: "58.97,5.733,0,0",
        26: "8001",
        27: 8001,
        28: 8,
        30: False,
        32: -1,
        33: 1,
        34: 1,
        35: False,
        36: "garage",
        38: 2,
        40: 50,
        45: 0,
        54: "No",
        62: "{}",
        80: FIRMWARE,
        82: "EG91NAXGAR07A03M1G",
        84: "Telenor",
        89: 7,
        90: 12,
        91: 9,
        99: 0,
        131: 4,
        134: "192.168.1.40",
        135: "N",
        139: "ok",
        141: 1,
        147: 7,
        148: 1,
        149: 0,
        173: True,
        219: 0,
        241: "02:00:5e:10:00:01",
    }
)

# Said now and then, minutes to hours ago.
SINCE_THEN: Mapping[int, Value] = MappingProxyType(
    {
        **dict.fromkeys((70, 71, 72, 73, 74, 75), 0.0),
        **dict.fromkeys((76, 77, 78, 79, 98), 0),
        **dict.fromkeys((114, 120, 121, 122), 0.0),
        **dict.fromkeys((182, 183, 184, 185), 0.0),
        **dict.fromkeys((150, 151, 152, 153, 154, 155), 11),
        **dict.fromkeys((160, 161, 162, 163, 170), 11),
        **dict.fromkeys((190, 191, 192, 193, 194, 195, 196), 230.4),
        **dict.fromkeys((197, 198, 199), 399.1),
        **dict.fromkeys((202, 203, 204, 205, 206), 0.0),
        **dict.fromkeys((230, 231, 232), 32.0),
        **dict.fromkeys((157, 233, 234), 0),
        46: 18,
        57: 61,
        96: 50,
        97: 1,
        100: "A",
        101: False,
        103: False,
        104: -1.0,
        105: 12,
        106: -12,
        109: 1,
        115: 32.0,
        116: False,
        118: "",
        119: 0,
        125: 812,
        126: 9034,
        130: -79,
        132: -61,
        136: 0,
        138: 8,
        156: 170,
        171: 12,
        172: 41,
        174: 0.0,
        175: 1480,
        210: 3.31,
        211: 5.02,
        212: 12.1,
        220: -95,
        221: 12,
        222: -9,
    }
)


def seed(charger: Charger, index: int, *, authorization: tuple[bool, bool]) -> None:
    """Create the initial observations of a new charger.

    Args:
        charger: New; ``at`` is the moment it is looked at.
        index: Counted from 0; a few values follow from it.
        authorization: Initial values of 42 and 15.
    """
    now, rng = charger.at, charger.rng
    cloud, local = authorization
    booted_at = now - timedelta(hours=rng.randrange(30, 200), minutes=rng.randrange(60))
    own: dict[int, Value] = {
        15: local,
        42: cloud,
        21: charger.telemetry.grid.code,
        33: index % 3 + 1,
        81: f"8947080000000{index:06d}",
        107: f"bp{charger.id[2:]}",
        137: f"bp{charger.id[2:]}",
        146: 1 if charger.primary else 2,
    }
    for observation_id, value in {**AT_START, **own}.items():
        _keep(charger, observation_id, value, booted_at)
    since = {**SINCE_THEN, 110: charger.telemetry.grid.outputs[1]}
    for observation_id, value in since.items():
        minutes = rng.randrange(1, 14) if observation_id in _HEARTBEAT else rng.randrange(15, 600)
        _keep(charger, observation_id, value, now - timedelta(minutes=minutes))
    if not charger.primary:
        _keep(charger, 46, 19, charger.readings[46].measured_at)
    _keep(charger, 250, True, booted_at + timedelta(milliseconds=417))
    _keep(charger, 251, "SERVER_INITIATED_DISCONNECT", booted_at - timedelta(minutes=3))
    _past_sessions(charger)
    _keep(charger, 124, charger.meter_kwh, now.replace(minute=0, second=0))


# What an idle charger sends every quarter of an hour, so that it counts as alive.
_HEARTBEAT = frozenset({57, 132, 150, 170, 194, 195, 196})


def _past_sessions(charger: Charger) -> None:
    rng = charger.rng
    charger.meter_kwh = round(rng.uniform(900, 4000), 6)
    charger.next_session = rng.randrange(100, 1400)
    days = sorted(rng.sample(range(1, 20), PAST_SESSIONS), reverse=True)
    for day in days:
        started_at = (charger.at - timedelta(days=day, minutes=rng.randrange(600))).replace(
            microsecond=0
        )
        session = Session(
            charger.next_session,
            started_at,
            round(charger.meter_kwh, 6),
            "04B1D3F5A79C21",
            AUTH_TAG,
            started_at + timedelta(minutes=rng.randrange(40, 400)),
            round(rng.uniform(3, 30), 6),
        )
        charger.sessions.append(session)
        charger.next_session += 1
        charger.meter_kwh += session.energy_kwh
        stopped_at = session.stopped_at or started_at
        _keep(charger, 223, started_text(session), started_at)
        _keep(charger, 129, finished_text(session), stopped_at)
        _keep(charger, 128, session.auth, started_at)
        _keep(charger, 108, bytes.fromhex(session.auth)[::-1].hex().upper(), started_at)


def _keep(charger: Charger, observation_id: int, value: Value, at: datetime) -> None:
    data_type = data_type_of(CHARGER_OBSERVATIONS, observation_id, value)
    charger.readings[observation_id] = Reading(
        fitted(data_type, value), data_type, trimmed(observation_id, at)
    )
