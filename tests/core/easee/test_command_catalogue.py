import json
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.core import addressees
from bridge.core.easee.command_catalogue import (
    CATALOGUE,
    REFLECTING_IDS,
    CommandTarget,
    allowed,
    controls,
    setting,
)
from bridge.core.easee.command_payloads import read_payload
from bridge.core.easee.controls import switch
from bridge.core.easee.payload_kinds import whole
from bridge.core.easee.rest_requests import Endpoint
from bridge.errors import CommandRefused

CHARGER = "/api/chargers/EH123456"
CIRCUIT = "/api/sites/7/circuits/9"
SCHEDULES = f"{CHARGER}/schedules"
# The same serial stands for an Equalizer where a row is about one.
METER = "/api/equalizers/EH123456"
PRICE = {"per_kwh": 1.25, "currency": "NOK", "vat": 25}
SURPLUS = "/cloud-loadbalancing/equalizer/EH123456/config/surplus-energy"
KINDS = (addressees.CHARGER, addressees.EQUALIZER)
GROUPS = tuple({spec.group for spec in CATALOGUE.values()})
# Without any schedule.
PLACE = CommandTarget(
    "EH123456",
    7,
    9,
    dict.fromkeys((SCHEDULES, *(f"{SCHEDULES}/{k}" for k in ("delayed", "daily", "weekly"))), b""),
)
WEEKLY_BODY = (
    b'{"enabled":true,"timezone":"UTC","periods":[{"startTime":"22:00","stopTime":"06:00",'
    b'"startDay":"monday","stopDay":"tuesday","maximumAmps":16}]}'
)
BASIC = b'{"chargeStartTime":"2026-11-22T22:00:00Z","repeat":true}'
WEEKLY = (
    b'{"isEnabled":true,"days":[{"dayOfWeek":0,"ranges":'
    b'[{"startTime":"22:00Z","stopTime":"06:00Z","chargingCurrentLimit":16}]}]}'
)

# One row per command at least: payload -> method, path, body.
ROWS = [
    (
        "site_price",
        b'{"per_kwh":1.25,"currency":"NOK","vat":25}',
        "POST",
        "/api/sites/7/price",
        (
            b'{"currency":"NOK","currencyId":"NOK","costPerKWh":1.25,"vat":25.0,'
            b'"costPerKwhExcludeVat":1.0}'
        ),
    ),
    (
        "surplus_charging",
        b'{"enabled":true,"amps":6}',
        "POST",
        SURPLUS,
        (
            b'{"mode":"chargingWithImport",'
            b'"chargingWithImport":{"eligible":true,"maximumImportAddedCurrent":6}}'
        ),
    ),
    ("surplus_charging", b'{"enabled":false}', "POST", SURPLUS, b'{"mode":"none"}'),
    ("surplus_charging", b"off", "POST", SURPLUS, b'{"mode":"none"}'),
    (
        "max_allocated_current",
        b"16",
        "POST",
        f"{METER}/commands/configure_max_allocated_current",
        b'{"maxCurrent":16}',
    ),
    ("start", b"PRESS", "POST", f"{CHARGER}/commands/start_charging", None),
    ("stop", b"1", "POST", f"{CHARGER}/commands/stop_charging", None),
    ("authorize", b"true", "POST", f"{CHARGER}/commands/start_charging", None),
    ("deauthorize", b"on", "POST", f"{CHARGER}/commands/stop_charging", None),
    ("pause", b"{}", "POST", f"{CHARGER}/commands/pause_charging", None),
    ("resume", b'{"id":"a"}', "POST", f"{CHARGER}/commands/resume_charging", None),
    ("toggle", b'{"value":"press"}', "POST", f"{CHARGER}/commands/toggle_charging", None),
    ("override_schedule", b"PRESS", "POST", f"{CHARGER}/commands/override_schedule", None),
    ("smart_charging", b"on", "POST", f"{CHARGER}/commands/smart_charging", None),
    ("smart_charging", b"off", "POST", f"{CHARGER}/settings", b'{"smartCharging":false}'),
    ("authorization_required", b"true", "POST", f"{CHARGER}/settings",
     b'{"authorizationRequired":true}'),
    ("local_pre_authorize_enabled", b"OFF", "POST", f"{CHARGER}/settings",
     b'{"localPreAuthorizeEnabled":false}'),
    ("local_authorize_offline_enabled", b'{"value":true}', "POST", f"{CHARGER}/settings",
     b'{"localAuthorizeOfflineEnabled":true}'),
    ("allow_offline_tx_for_unknown_id", b"0", "POST", f"{CHARGER}/settings",
     b'{"allowOfflineTxForUnknownId":false}'),
    ("smart_button_enabled", b"True", "POST", f"{CHARGER}/settings",
     b'{"smartButtonEnabled":true}'),
    ("offline_charging_mode", b"never", "POST", f"{CHARGER}/settings",
     b'{"offlineChargingMode":2}'),
    ("offline_charging_mode", b"only_whitelisted", "POST", f"{CHARGER}/settings",
     b'{"offlineChargingMode":1}'),
    ("offline_charging_mode", b'"Whitelisted"', "POST", f"{CHARGER}/settings",
     b'{"offlineChargingMode":1}'),
    ("offline_charging_mode", b"0", "POST", f"{CHARGER}/settings",
     b'{"offlineChargingMode":0}'),
    ("charging_allowed", b"true", "POST", f"{CHARGER}/commands/resume_charging", None),
    ("charging_allowed", b"off", "POST", f"{CHARGER}/commands/pause_charging", None),
    ("remote_start_required", b"1", "POST", f"{CHARGER}/settings",
     b'{"remoteStartRequired":true}'),
    ("enabled", b"false", "POST", f"{CHARGER}/settings", b'{"enabled":false}'),
    ("dynamic_charger_current", b"16", "POST", f"{CHARGER}/commands/set_dynamic_charger_current",
     b'{"amps":16,"minutes":0}'),
    ("dynamic_charger_current", b'{"amps":16,"minutes":30}', "POST",
     f"{CHARGER}/commands/set_dynamic_charger_current", b'{"amps":16,"minutes":30}'),
    ("dynamic_charger_current", b'{"value":6.9,"minutes":5,"id":"x"}', "POST",
     f"{CHARGER}/commands/set_dynamic_charger_current", b'{"amps":6,"minutes":5}'),
    ("dynamic_charger_current", b'"16"', "POST",
     f"{CHARGER}/commands/set_dynamic_charger_current", b'{"amps":16,"minutes":0}'),
    ("dynamic_charger_current", b"08", "POST",
     f"{CHARGER}/commands/set_dynamic_charger_current", b'{"amps":8,"minutes":0}'),
    ("dynamic_charger_current", b"0", "POST", f"{CHARGER}/commands/set_dynamic_charger_current",
     b'{"amps":0,"minutes":0}'),
    ("dynamic_circuit_current", b'{"phase1":10,"phase2":11,"phase3":12,"minutes":15}', "POST",
     f"{CIRCUIT}/dynamicCurrent", b'{"phase1":10,"phase2":11,"phase3":12,"timeToLive":15}'),
    ("dynamic_circuit_current", b"20.0", "POST",
     f"{CIRCUIT}/dynamicCurrent", b'{"phase1":20,"phase2":20,"phase3":20,"timeToLive":0}'),
    ("lock_cable_permanently", b"true", "POST", f"{CHARGER}/commands/lock_state",
     b'{"state":true}'),
    ("led_strip_brightness", b"40", "POST", f"{CHARGER}/settings", b'{"ledStripBrightness":40}'),
    ("phase_mode", b"locked_3_phase", "POST", f"{CHARGER}/commands/set_phase_mode",
     b'{"phaseMode":3}'),
    ("phase_mode", b"2", "POST", f"{CHARGER}/commands/set_phase_mode", b'{"phaseMode":2}'),
    ("enable_idle_current", b"on", "POST", f"{CHARGER}/settings", b'{"enableIdleCurrent":true}'),
    ("limit_to_single_phase_charging", b"off", "POST", f"{CHARGER}/settings",
     b'{"limitToSinglePhaseCharging":false}'),
    ("basic_charge_plan", BASIC, "POST", f"{SCHEDULES}/delayed",
     b'{"enabled":true,"timezone":"UTC","startTime":"22:00:00","maximumAmps":32}'),
    ("basic_charge_plan", b"null", "DELETE", f"{SCHEDULES}/daily", None),
    ("weekly_charge_plan", WEEKLY, "POST", f"{SCHEDULES}/weekly", WEEKLY_BODY),
    ("weekly_charge_plan", b'{"value":' + WEEKLY + b"}", "POST", f"{SCHEDULES}/weekly",
     WEEKLY_BODY),
    ("weekly_charge_plan", b"Clear", "DELETE", f"{SCHEDULES}/weekly", None),
    ("delayed_schedule", b'{"timezone":"Europe/Oslo","periods":[{"start":"22:00","amps":16}]}',
     "POST", f"{SCHEDULES}/delayed",
     b'{"enabled":true,"timezone":"Europe/Oslo","startTime":"22:00:00","maximumAmps":16}'),
    ("daily_schedule", (b'{"enabled":false,"timezone":"Europe/Oslo","periods":'
     b'[{"start":"22:00","stop":"06:00","amps":16}]}'), "POST", f"{SCHEDULES}/daily",
     (b'{"enabled":false,"timezone":"Europe/Oslo","periods":[{"startTime":"22:00:00",'
     b'"stopTime":"06:00:00","maximumAmps":16}]}')),
    ("weekly_schedule", (b'{"enabled":true,"timezone":"UTC","periods":[{"start":"22:00",'
     b'"stop":"06:00","amps":16,"from":"monday","to":"tuesday"}]}'), "POST", f"{SCHEDULES}/weekly",
     WEEKLY_BODY),
    ("daily_schedule", b'{"enabled":false}', "POST", f"{SCHEDULES}/daily/disable", None),
    ("daily_schedule", b"on", "POST", f"{SCHEDULES}/daily/enable", None),
    ("daily_schedule", b'{"clear":true}', "DELETE", f"{SCHEDULES}/daily", None),
    ("daily_schedule", b'{"start":"23:00","timezone":"UTC"}', "POST", f"{SCHEDULES}/daily",
     (b'{"enabled":false,"timezone":"UTC","periods":[{"startTime":"23:00:00",'
     b'"stopTime":"06:00:00","maximumAmps":32}]}')),
    ("access_level", b"whitelist", "PUT", f"{CHARGER}/access", b"3"),
    ("access_level", b"1", "PUT", f"{CHARGER}/access", b"1"),
    ("rfid_pairing", b"PRESS", "POST", f"{CHARGER}/commands/set_rfid_pairing_mode_async",
     b'{"timeout":60}'),
    ("rfid_pairing", b"1", "POST", f"{CHARGER}/commands/set_rfid_pairing_mode_async",
     b'{"timeout":60}'),
    ("rfid_pairing", b'{"timeout":90}', "POST",
     f"{CHARGER}/commands/set_rfid_pairing_mode_async", b'{"timeout":90}'),
    ("max_charger_current", b"25", "POST", f"{CHARGER}/settings", b'{"maxChargerCurrent":25}'),
    ("offline_max_circuit_current", b'{"phase1":6,"phase2":0,"phase3":8}', "POST",
     f"{CIRCUIT}/settings", (b'{"offlineMaxCircuitCurrentP1":6,"offlineMaxCircuitCurrentP2":0,'
                             b'"offlineMaxCircuitCurrentP3":8}')),
    ("max_circuit_current", b"32", "POST", f"{CIRCUIT}/settings",
     b'{"maxCircuitCurrentP1":32,"maxCircuitCurrentP2":32,"maxCircuitCurrentP3":32}'),
    ("reboot", b"PRESS", "POST", f"{CHARGER}/commands/reboot", None),
    ("update_firmware", b"PRESS", "POST", f"{CHARGER}/commands/update_firmware", None),
]  # fmt: skip

REFUSED = [
    ("start", b"off"),
    ("start", b"0"),
    ("start", b"false"),
    ("start", b"1.0"),
    ("start", b"null"),
    ("start", b"[]"),
    ("start", b'{"minutes":3}'),
    ("enabled", b"2"),
    ("enabled", b"1.0"),
    ("enabled", b"enabled"),
    ("enabled", b"{}"),
    ("enabled", b"null"),
    ("enabled", b"[true]"),
    ("offline_charging_mode", b"3"),
    ("offline_charging_mode", b"sometimes"),
    ("offline_charging_mode", b"true"),
    ("dynamic_charger_current", b"true"),
    ("dynamic_charger_current", b"on"),
    ("dynamic_charger_current", b"5.99"),
    ("dynamic_charger_current", b"1"),
    ("dynamic_charger_current", b"-6"),
    ("dynamic_charger_current", b"16 A"),
    ("dynamic_charger_current", "١٦".encode()),
    ("dynamic_charger_current", b"1_6"),
    ("dynamic_charger_current", b"0x10"),
    ("dynamic_charger_current", b"{}"),
    ("dynamic_charger_current", b'{"amps":16,"minute":30}'),
    ("dynamic_charger_current", b'{"amps":16,"minutes":true}'),
    ("dynamic_charger_current", b'{"amps":16,"minutes":1.5}'),
    ("dynamic_charger_current", b'{"amps":16,"minutes":-1}'),
    ("dynamic_charger_current", b'{"amps":16,"value":16}'),
    ("dynamic_circuit_current", b'{"phase1":10,"phase2":10}'),
    ("dynamic_circuit_current", b'{"phase1":10,"phase2":10,"phase3":true}'),
    ("dynamic_circuit_current", b'{"phase1":10,"phase2":10,"phase3":10,"phase4":10}'),
    ("led_strip_brightness", b"101"),
    ("led_strip_brightness", b"40.5"),
    ("led_strip_brightness", b"true"),
    ("phase_mode", b"0"),
    ("phase_mode", b"4"),
    ("phase_mode", b"ignore"),
    ("access_level", b"0"),
    ("access_level", b"true"),
    ("rfid_pairing", b"601"),
    ("rfid_pairing", b'{"timeout":true}'),
    ("rfid_pairing", b'{"timeout":60,"x":1}'),
    ("rfid_pairing", b"off"),
    ("max_charger_current", b"0"),
    ("max_charger_current", b"16.5"),
    ("max_circuit_current", b"16.5"),
    ("max_circuit_current", b'{"value":16,"minutes":3}'),
]


def _request(name, payload, place=PLACE, max_current_a=32):
    spec = CATALOGUE[name]
    return spec.request(place, spec.read(read_payload(payload).value, max_current_a))


@pytest.mark.parametrize(("name", "payload", "method", "path", "body"), ROWS)
def test_a_payload_becomes_exactly_the_vendors_request(name, payload, method, path, body):
    """Every command asks for the vendor's method, path and body, and for nothing else."""
    made = _request(name, payload)

    assert (made.method, made.path, made.body) == (method, path, body)


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_command_asks_for_its_own_charger(name):
    """Whatever the row, the request goes to the charger, its circuit or its observations."""
    payloads = [
        json.dumps(one) for one in ("PRESS", True, 1, "off", 6, "open", "always", "auto", PRICE)
    ]
    taken = [payload for payload in payloads if _is_taken(name, payload.encode())]

    assert taken
    for payload in taken:
        made = _request(name, payload.encode())
        assert made.path.startswith(
            (CHARGER, CIRCUIT, "/state/EH123456/", METER, SURPLUS, "/api/sites/7/price")
        )
        assert made.idempotent is CATALOGUE[name].idempotent


def _is_taken(name, payload):
    try:
        _request(name, payload)
    except CommandRefused:
        return False
    return True


def test_refresh_reads_every_observation_in_one_call():
    """``refresh`` is one read of all ids, under the budget for reads."""
    made = _request("refresh", b"PRESS")

    assert made.method == "GET"
    assert re.fullmatch(r"/state/EH123456/observations\?ids=\d+(,\d+){150,}", made.path)
    assert made.endpoint is Endpoint.OBSERVATIONS


@pytest.mark.parametrize(("name", "payload"), REFUSED)
def test_what_a_command_does_not_take_is_refused(name, payload):
    """A value that is wrong in type, range or key is refused as invalid, with a sentence."""
    with pytest.raises(CommandRefused) as refused:
        _request(name, payload)

    assert refused.value.reason == "invalid_value"
    assert len(refused.value.detail) > 10


@pytest.mark.parametrize(
    ("name", "payload"),
    [
        ("dynamic_charger_current", b"17"),
        ("dynamic_charger_current", b"16.5"),
        ("dynamic_charger_current", b"999999999999999999999"),
        ("dynamic_circuit_current", b'{"phase1":1,"phase2":1,"phase3":17}'),
        ("max_charger_current", b"32"),
        ("max_circuit_current", b"20"),
        (
            "basic_charge_plan",
            b'{"chargeStartTime":"2026-11-22T22:00:00Z","chargingCurrentLimit":20}',
        ),
    ],
)
def test_no_command_may_ask_for_more_than_the_configured_current(name, payload):
    """Beyond ``commands.max_current_a`` nothing is sent."""
    with pytest.raises(CommandRefused) as refused:
        _request(name, payload, max_current_a=16)

    assert refused.value.reason in {"over_limit", "invalid_value"}
    if len(payload) < 20:
        assert refused.value.reason == "over_limit"


def test_a_circuit_is_asked_for_before_its_limits_are_set():
    """Without site, circuit or the schedule to be changed there is no request yet."""
    lost = CommandTarget("EH123456")
    waiting = {name for name, payload, *_ in ROWS if _request(name, payload, lost) is None}

    assert waiting == {
        "dynamic_circuit_current",
        "max_circuit_current",
        "offline_max_circuit_current",
        "basic_charge_plan",
        "daily_schedule",
        "site_price",
    }


def test_only_what_may_be_repeated_is_called_idempotent():
    """The four commands that must never run twice are marked, in the row and in the request."""
    once = {spec.name for spec in CATALOGUE.values() if not spec.idempotent}

    assert once == {"toggle", "reboot", "update_firmware", "rfid_pairing"}
    assert {name for name, payload, *_ in ROWS if not _request(name, payload).idempotent} == once


@pytest.mark.parametrize(
    ("newer", "argument", "earlier", "other", "replaces"),
    [
        ("pause", None, "resume", None, True),
        ("pause", None, "charging_allowed", True, True),
        ("pause", None, "charging_allowed", False, False),
        ("charging_allowed", False, "resume", None, True),
        ("charging_allowed", False, "charging_allowed", True, True),
        ("charging_allowed", True, "charging_allowed", False, True),
        ("charging_allowed", True, "pause", None, False),
        ("charging_allowed", False, "start", None, False),
    ],
)
def test_what_stops_takes_the_place_of_what_resumes(newer, argument, earlier, other, replaces):
    """A pause in either form replaces a resume in either form that was not sent."""
    assert CATALOGUE[newer].replaces(argument, earlier, other) is replaces


def test_what_reflects_a_command_also_moves_with_it():
    """Whoever watches the observations of ``moves`` sees every proof."""
    for name, payload, *_ in ROWS:
        spec = CATALOGUE[name]
        argument = spec.read(read_payload(payload).value, 32)
        ids = {number for evidence in spec.reflects(argument) for number in evidence}
        assert ids <= set(spec.moves) <= REFLECTING_IDS


def test_the_exclusive_pair_says_what_else_changes():
    """Setting one of the two access switches tells that the other one goes off."""
    for name in ("authorization_required", "local_pre_authorize_enabled"):
        assert "becomes false" in CATALOGUE[name].side_effects(True)
        assert CATALOGUE[name].side_effects(False) is None
    assert "rounded down" in CATALOGUE["dynamic_charger_current"].side_effects(
        CATALOGUE["dynamic_charger_current"].read(16.7, 32)
    )


def test_what_lets_a_car_charge_is_known():
    """Commands that could start a charge hours late are told apart from those that reduce."""
    energizing = {
        name
        for name, payload, *_ in ROWS
        if CATALOGUE[name].energizes(CATALOGUE[name].read(read_payload(payload).value, 32))
    }

    assert {"start", "resume", "toggle", "override_schedule", "authorize"} <= energizing
    assert not energizing & {"stop", "pause", "deauthorize", "reboot", "refresh"}
    assert not CATALOGUE["dynamic_charger_current"].energizes(
        CATALOGUE["dynamic_charger_current"].read(0, 32)
    )


def test_a_command_without_a_control_says_why():
    """A command is operated by a control, or its row gives the reason why it has none."""
    reasons = [spec.control for spec in CATALOGUE.values() if isinstance(spec.control, str)]

    assert all(reasons)
    controlled = [name for kind in KINDS for name, _ in controls(GROUPS, kind)]
    assert len(reasons) + len(controlled) == len(CATALOGUE)


def test_only_what_is_allowed_has_a_control():
    """An allow-list of one command or group offers the controls of these and no others."""
    assert list(dict(controls(("start",)))) == ["start"]
    assert all(CATALOGUE[name].group == "access" for name, _ in controls(("access",)))
    assert not dict(controls(()))
    assert dict(controls(GROUPS)).keys().isdisjoint(dict(controls(GROUPS, addressees.EQUALIZER)))
    assert list(dict(controls(("surplus_charging",), addressees.EQUALIZER))) == ["surplus_charging"]


def test_a_setting_of_its_own_kind_says_how_it_is_operated():
    """A switch follows from the observation; a choice without a control is no row."""
    made = setting("night_light", "device", "Light at night.", "nightLight", 44)

    assert made.control == switch("Night light", 44)
    with pytest.raises(ValueError, match="night_light"):
        setting("night_light", "device", "Light.", "nightLight", 44, takes=whole(0, 3, ""))


def test_an_allow_list_names_groups_or_commands():
    """A command is allowed by its own name or by its group's."""
    assert allowed(CATALOGUE["start"], ("control",))
    assert allowed(CATALOGUE["reboot"], ("access", "reboot"))
    assert not allowed(CATALOGUE["reboot"], ("control", "access", "current"))
    assert not allowed(CATALOGUE["start"], ())


@given(
    st.sampled_from(sorted(CATALOGUE)),
    st.one_of(
        st.binary(max_size=60),
        st.sampled_from([row[1] for row in ROWS]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["value", "id", "amps", "minutes", "phase1", "phase2", "phase3", "timeout",
                     "days", "ranges", "dayOfWeek", "chargeStartTime", "expires_at", "ttl_s"]
                ),
                inner,
                max_size=4,
            ),
        ).map(json.dumps).map(str.encode),
    ),
)  # fmt: skip
@example("surplus_charging", b"off")
def test_any_payload_makes_a_request_or_a_refusal(name, payload):
    """Whatever is sent, a command gives a request to one known path or a refusal."""
    try:
        made = _request(name, payload)
    except CommandRefused as refusal:
        reason = refusal.reason
    else:
        reason = "invalid_value"
        assert re.fullmatch(r"/[A-Za-z0-9_/-]+(\?ids=[0-9,]+)?", made.path)
    assert reason in {"invalid_value", "empty_payload", "over_limit"}
