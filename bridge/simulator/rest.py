"""The REST interface as a table: method, path, and what answers it.

Everything here is a function from a :class:`Call` and the world to an ``Answer``; tokens, limits
and sockets are the business of :mod:`server`.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from bridge.simulator import documents, plans, usage
from bridge.simulator.charger import Charger
from bridge.simulator.commands import amount, is_amps, is_minutes, is_number
from bridge.simulator.equalizer import CONFIG, STATE, Equalizer
from bridge.simulator.observation_table import CHARGER_OBSERVATIONS, DataType
from bridge.simulator.problems import (
    NOT_ALLOWED,
    NOT_FOUND,
    Answer,
    forbidden,
    validation_error,
)
from bridge.simulator.readings import utc_text
from bridge.simulator.seed import LATEST_FIRMWARE
from bridge.simulator.world import ACCESS_LEVELS, CIRCUIT_SETTINGS, World

SURPLUS_MODES = ("none", "chargingWithImport")
OCPP_MODES = ("OcppOff", "DualProtocol")
PASSWORD_LENGTHS = range(16, 21)
MAX_SESSIONS = 100
ERROR_CODE = 119


@dataclass(frozen=True, slots=True)
class Call:
    """One request, taken apart.

    Attributes:
        match: The variable parts of the path.
        query: Query parameters.
        body: Raw.
    """

    match: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes = b""

    def document(self) -> object:
        """Return the JSON body; an empty object when there is none.

        Raises:
            ValueError: It is not JSON.
        """
        return json.loads(self.body) if self.body.strip() else {}

    def fields(self) -> Mapping[str, object]:
        """Return the JSON object of the body.

        Raises:
            ValueError: It is something else.
        """
        document = self.document()
        if not isinstance(document, dict):
            raise ValueError("an object is expected")  # noqa: TRY004 - one error for a bad body
        return document

    def period(self) -> tuple[datetime, datetime]:
        """Return the two moments of the path, else of the query.

        Raises:
            ValueError: They are none.
        """
        first, second = (self.match.get(key) or self.query.get(key, "") for key in ("from", "to"))
        return _moment(first), _moment(second)


Handler = Callable[[World, Call], Answer]
OfCharger = Callable[[World, Charger, Call], Answer]


@dataclass(frozen=True, slots=True)
class Route:
    """One row of the table."""

    method: str
    path: str
    handler: Handler


def answer(route: Route, world: World, call: Call) -> Answer:
    """Answer a call; what cannot be read is a 400."""
    try:
        return route.handler(world, call)
    except (ValueError, RecursionError) as exc:
        return validation_error({"$": [type(exc).__name__]})


def _moment(text: str) -> datetime:
    # A plus sign that was not encoded arrives as a blank.
    at = datetime.fromisoformat(text.replace(" ", "+"))
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def _of_charger(handler: OfCharger) -> Handler:
    def found(world: World, call: Call) -> Answer:
        charger = world.chargers.get(call.match["id"])
        return NOT_FOUND if charger is None else handler(world, charger, call)

    return found


def _reads(build: Callable[[World, Charger], object]) -> Handler:
    return _of_charger(lambda world, charger, _: Answer(200, build(world, charger)))


def _or_404(build: Callable[[Charger], object]) -> Handler:
    def found(_: World, charger: Charger, __: Call) -> Answer:
        document = build(charger)
        return NOT_FOUND if document is None else Answer(200, document)

    return _of_charger(found)


def _of_site(build: Callable[[World, int], object]) -> Handler:
    def found(world: World, call: Call) -> Answer:
        site_id = _site_id(world, call)
        return NOT_FOUND if site_id is None else Answer(200, build(world, site_id))

    return found


def _site_id(world: World, call: Call) -> int | None:
    """Return the site that a call is about; None for an unknown one."""
    return next((one for one in world.site_ids() if call.match["site"] == str(one)), None)


# -- reads ---------------------------------------------------------------------------------------


def _observations(world: World, call: Call) -> Answer:
    device = call.match["id"]
    product = world.chargers.get(device) or world.equalizers.get(device)
    if product is None:
        return NOT_FOUND
    texts = [text for text in call.query.get("ids", "").split(",") if text.strip()]
    if not texts:
        return validation_error({"ids": ["The ids field is required."]})
    return Answer(200, documents.observations(product, [int(text) for text in texts]))


def _history(_: World, charger: Charger, call: Call) -> Answer:
    rows = usage.history(charger, int(call.match["observation"]), *call.period())
    return Answer(200, {"measurements": rows})


def _errors(_: World, charger: Charger, call: Call) -> Answer:
    return Answer(200, {"measurements": usage.history(charger, ERROR_CODE, *call.period())})


def _lifetime(_: World, charger: Charger, call: Call) -> Answer:
    return Answer(200, {"measurements": usage.history(charger, 124, *call.period())})


def _sessions(_: World, charger: Charger, call: Call) -> Answer:
    return Answer(200, usage.between(charger, *call.period()))


def _descending(_: World, charger: Charger, call: Call) -> Answer:
    limit = min(MAX_SESSIONS, int(call.query.get("limit", "10")))
    return Answer(200, usage.descending(charger, max(0, limit)))


def _total(_: World, charger: Charger, call: Call) -> Answer:
    return Answer(200, usage.total_kwh(charger, *call.period()))


def _by_period(build: Callable[[Charger, str], object]) -> Handler:
    def found(_: World, charger: Charger, call: Call) -> Answer:
        period = call.match["period"]
        return Answer(200, build(charger, period)) if period in usage.PERIODS else NOT_FOUND

    return _of_charger(found)


def _usage_hourly(_: World, charger: Charger, call: Call) -> Answer:
    return Answer(200, usage.hourly_usage(charger, *call.period()))


def _properties(_: World, __: Call) -> Answer:
    return Answer(
        200,
        [
            {
                "observationId": one.id,
                "name": one.name,
                "dataType": int(one.data_type or DataType.STRING),
            }
            for one in CHARGER_OBSERVATIONS.values()
        ],
    )


def _latest(world: World, call: Call) -> Answer:
    known = world.chargers.keys() | world.equalizers.keys()
    return Answer(200, {"version": LATEST_FIRMWARE}) if call.match["id"] in known else NOT_FOUND


def _profile(_: World, __: Call) -> Answer:
    return Answer(
        200,
        {
            "userId": 4711,
            "eMail": "someone@example.com",
            "phoneNo": None,
            "firstName": "Some",
            "lastName": "One",
            "userRole": 1,
        },
    )


def _command_state(world: World, call: Call) -> Answer:
    key = (call.match["device"], int(call.match["command"]), int(call.match["ticks"]))
    record = world.commands.get(key)
    # The record appears only when there is something to tell: until then it is a 404.
    if record is None or (record.accepted is None and record.sent_at == world.now):
        return NOT_FOUND
    delivered_at = record.delivered_at
    return Answer(
        200,
        {
            "id": record.command_id,
            "timestamp": utc_text(record.sent_at, "milliseconds"),
            "deliveredAt": None if delivered_at is None else utc_text(delivered_at, "milliseconds"),
            "wasAccepted": record.accepted,
            "resultCode": world.result_code(record),
            "comment": "",
            "ticks": record.ticks,
        },
    )


# -- writes --------------------------------------------------------------------------------------


def _command(world: World, call: Call) -> Answer:
    return world.command(call.match["id"], call.match["name"], call.fields())


def _settings(world: World, call: Call) -> Answer:
    return world.set_settings(call.match["id"], call.fields())


def _set_access(world: World, call: Call) -> Answer:
    level = call.document()
    if not is_number(level) or amount(level) not in ACCESS_LEVELS:
        return validation_error({"$": ["1, 2 or 3 is expected."]})
    return world.set_access(call.match["id"], int(amount(level)))


def _site_access(world: World, call: Call) -> Answer:
    # Back to what the site says: an account is required.
    return world.set_access(call.match["id"], 2)


def _circuit_current(world: World, call: Call) -> Answer:
    fields = call.fields()
    phases = ("phase1", "phase2", "phase3")
    # An omitted phase was seen to become 0.
    problems = {
        key: ["The value is not valid."]
        for key in phases
        if key in fields and not is_amps(fields[key])
    }
    if not is_minutes(fields.get("timeToLive")):
        problems["timeToLive"] = ["The value is not valid."]
    if problems:
        return validation_error(problems)
    first, second, third = (float(int(amount(fields.get(key)))) for key in phases)
    minutes = amount(fields.get("timeToLive"))
    return world.set_circuit_current(_circuit_id(call), (first, second, third), minutes)


def _circuit_currents(world: World, call: Call) -> Answer:
    members = world.circuit(_circuit_id(call))
    if not members:
        return NOT_FOUND
    return Answer(200, {f"phase{n}": members[0].number(110 + n) for n in (1, 2, 3)})


def _circuit_settings(world: World, call: Call) -> Answer:
    members = world.circuit(_circuit_id(call))
    if not members:
        return NOT_FOUND
    return Answer(
        200,
        documents.repeated(members[0], documents.CIRCUIT)
        | {"allowOfflineMaxCircuitCurrent": True, "equalizerId": None, "masterChargerId": None},
    )


def _set_circuit_settings(world: World, call: Call) -> Answer:
    fields = call.fields()
    problems = {
        key: ["The value is not valid."]
        for key, value in fields.items()
        if key in CIRCUIT_SETTINGS and value is not None and not is_amps(value)
    }
    if problems:
        return validation_error(problems)
    return world.set_circuit_settings(_circuit_id(call), fields)


def _circuit_id(call: Call) -> int:
    return int(call.match["circuit"])


def _plan_read(kind: str) -> Handler:
    return _or_404(lambda charger: charger.plans.get(kind))


def _plan_write(kind: str) -> Handler:
    def written(world: World, call: Call) -> Answer:
        plan = dict(call.fields())
        trouble = plans.problem(kind, plan)
        if trouble is not None:
            return validation_error({"$": [trouble]})
        return world.set_plan(call.match["id"], kind, plan)

    return written


def _plan_delete(kind: str) -> Handler:
    return lambda world, call: world.set_plan(call.match["id"], kind, None)


def _plan_switch(kind: str, *, on: bool) -> Handler:
    def switched(world: World, charger: Charger, call: Call) -> Answer:
        plan = charger.plans.get(kind)
        if plan is None:
            # Switching off what is not there is fine; switching it on is not.
            return NOT_FOUND if on else Answer(200)
        return world.set_plan(call.match["id"], kind, plan | {"enabled": on})

    return _of_charger(switched)


def _schedules(world: World, charger: Charger) -> dict[str, object]:
    running = next(
        (kind for kind in plans.SCHEDULES if plans.enabled(charger.plans.get(kind, {}))), "none"
    )
    if world.is_direct(charger.id):
        running = "ocpp.direct"
    return {"enabled": running, **{kind: charger.plans.get(kind) for kind in plans.SCHEDULES}}


# -- the Equalizer -------------------------------------------------------------------------------


def _of_equalizer(handler: Callable[[World, Equalizer, Call], Answer]) -> Handler:
    def found(world: World, call: Call) -> Answer:
        equalizer = world.equalizers.get(call.match["id"])
        return NOT_FOUND if equalizer is None else handler(world, equalizer, call)

    return found


def _allocate(world: World, equalizer: Equalizer, call: Call) -> Answer:
    amps = call.fields().get("maxCurrent")
    if not isinstance(amps, int) or not is_amps(amps):
        return validation_error({"maxCurrent": ["The value is not valid."]})
    return world.allocate(equalizer, int(amount(amps)))


def _site_of_charger(world: World, charger: Charger) -> object:
    circuit_id = world.circuit_of(charger.id)
    return documents.site(world, world.site_of(circuit_id), [circuit_id])


def _set_price(world: World, call: Call) -> Answer:
    if _site_id(world, call) is None:
        return NOT_FOUND
    fields = call.fields()
    problems = {
        key: ["The value is not valid."]
        for key in ("costPerKWh", "vat", "costPerKwhExcludeVat")
        if not is_number(fields.get(key))
    }
    currency = fields.get("currencyId", fields.get("currency"))
    if not isinstance(currency, str):
        problems["currencyId"] = ["The value is not valid."]
    if problems:
        return validation_error(problems)
    world.price |= {key: fields[key] for key in world.price if key != "currencyId"}
    world.price["currencyId"] = currency
    return Answer(200)


def _breakdown(world: World, call: Call) -> Answer:
    if _site_id(world, call) is None:
        return NOT_FOUND
    return Answer(200, documents.breakdown(world, *call.period()))


def _equalizer_state(world: World, equalizer: Equalizer, _: Call) -> Answer:
    if world.scenario.equalizer_state_forbidden:
        return forbidden("Forbidden")
    return Answer(200, documents.repeated(equalizer, STATE))


def _set_surplus(world: World, equalizer: Equalizer, call: Call) -> Answer:
    fields = dict(call.fields())
    added = fields.get("chargingWithImport")
    is_whole = isinstance(added, dict) and is_amps(added.get("maximumImportAddedCurrent"))
    if fields.get("mode") not in SURPLUS_MODES or (fields["mode"] != "none" and not is_whole):
        return validation_error({"mode": ["The value is not valid."]})
    equalizer.configure(fields, world.now)
    return Answer(200)


# -- a charger's own OCPP server -----------------------------------------------------------------


def _ocpp(world: World, charger: Charger, _: Call) -> Answer:
    details = world.ocpp.get(charger.id)
    return NOT_FOUND if details is None else Answer(200, details)


def _set_ocpp(world: World, charger: Charger, call: Call) -> Answer:
    fields = call.fields()
    password, url = fields.get("basicAuthPassword"), fields.get("websocketConnectionArgs")
    problems = {}
    if fields.get("connectivityMode") not in OCPP_MODES:
        problems["connectivityMode"] = ["The value is not valid."]
    if password is not None and not (
        isinstance(password, str) and len(password) in PASSWORD_LENGTHS
    ):
        problems["basicAuthPassword"] = ["16 to 20 characters are expected."]
    if problems:
        return validation_error(problems)
    before = world.ocpp.get(charger.id, {}).get("version", 0)
    version = 1 + (before if isinstance(before, int) else 0)
    world.ocpp[charger.id] = {
        "version": version,
        "connectivityMode": fields["connectivityMode"],
        "websocketConnectionArgs": url,
        "basicAuth": {
            "username": fields.get("chargePointId") or charger.id,
            "password": password,
        },
    }
    return Answer(201, {"version": version})


def _connect_ocpp(world: World, charger: Charger, call: Call) -> Answer:
    details, version = world.ocpp.get(charger.id), call.fields().get("version")
    if details is None or details["version"] != version or not isinstance(version, int):
        return NOT_FOUND
    world.ocpp_in_force.pop(charger.id, None)
    if details["connectivityMode"] != "OcppOff":
        world.ocpp_in_force[charger.id] = version
    return Answer(200)


# -- the table -----------------------------------------------------------------------------------

_CHARGER = "/api/chargers/{id}"
_SESSIONS = "/api/sessions/charger/{id}"
_CIRCUIT = "/api/sites/{site}/circuits/{circuit}"
_EQUALIZER = "/api/equalizers/{id}"
_SURPLUS = "/cloud-loadbalancing/equalizer/{id}/config/surplus-energy"
_DETAILS = "/local-ocpp/v1/connection-details/{id}"
_LIFETIME = "/api/chargers/lifetime-energy/{id}"

ROUTES: tuple[Route, ...] = (
    Route("GET", "/health", lambda _, __: Answer(200)),
    Route("GET", "/api/accounts/profile", _profile),
    Route("GET", "/api/accounts/products", lambda world, _: Answer(200, documents.sites(world))),
    Route(
        "GET",
        "/api/chargers",
        lambda world, _: Answer(200, [documents.entry(one) for one in world.chargers.values()]),
    ),
    Route("GET", _CHARGER, _reads(documents.one)),
    Route("GET", f"{_CHARGER}/details", _reads(lambda _, one: documents.details(one))),
    Route("GET", f"{_CHARGER}/config", _reads(lambda _, one: documents.config(one))),
    Route(
        "GET",
        f"{_CHARGER}/site",
        _reads(_site_of_charger),
    ),
    # Retired on 2026-09-01: the vendor answers 404 now, and so does everything not in this table.
    Route("GET", f"{_CHARGER}/state", lambda _, __: NOT_FOUND),
    Route("GET", "/state/{id}/observations", _observations),
    Route("GET", "/firmware/{id}/latest", _latest),
    Route("GET", "/api/resources/observation_properties", _properties),
    Route("GET", "/api/sites", lambda world, _: Answer(200, documents.sites(world))),
    Route("GET", "/api/sites/{site}", _of_site(documents.site)),
    Route("POST", "/api/sites/{site}/price", _set_price),
    Route("GET", "/api/sites/{site}/users", _of_site(lambda _, __: documents.users())),
    Route("GET", "/api/sites/{site}/breakdown/{from}/{to}", _breakdown),
    Route("GET", "/api/accounts/easeekeys", lambda _, __: Answer(200, documents.easee_keys())),
    Route("GET", "/api/sites/{site}/state", _of_site(documents.site_state)),
    Route("GET", "/api/sites/{site}/circuits", lambda _, __: NOT_ALLOWED),
    Route("GET", f"{_CIRCUIT}/settings", _circuit_settings),
    Route("POST", f"{_CIRCUIT}/settings", _set_circuit_settings),
    Route("GET", f"{_CIRCUIT}/dynamicCurrent", _circuit_currents),
    Route("POST", f"{_CIRCUIT}/dynamicCurrent", _circuit_current),
    Route("POST", f"{_CIRCUIT}/rated_current", lambda _, __: forbidden("Installers only")),
    Route("GET", f"{_CHARGER}/sessions/ongoing", _or_404(usage.ongoing)),
    Route("GET", f"{_CHARGER}/sessions/latest", _or_404(usage.newest)),
    Route("GET", f"{_SESSIONS}/sessions/descending", _of_charger(_descending)),
    Route("GET", f"{_SESSIONS}/sessions/{{from}}/{{to}}", _of_charger(_sessions)),
    Route("GET", f"{_SESSIONS}/total/{{from}}/{{to}}", _of_charger(_total)),
    Route("GET", f"{_SESSIONS}/{{period}}", _by_period(usage.by_period)),
    Route("GET", f"{_CHARGER}/usage/hourly/{{from}}/{{to}}", _of_charger(_usage_hourly)),
    Route("GET", f"{_LIFETIME}/all", _of_charger(_lifetime)),
    Route("GET", f"{_LIFETIME}/{{period}}", _by_period(usage.lifetime)),
    Route("GET", f"{_CHARGER}/observations/{{observation}}/{{from}}/{{to}}", _of_charger(_history)),
    Route("GET", f"{_CHARGER}/errors/{{from}}/{{to}}", _of_charger(_errors)),
    Route(
        "GET",
        _EQUALIZER,
        _of_equalizer(lambda world, one, _: Answer(200, documents.equalizer(world, one))),
    ),
    Route(
        "GET",
        f"{_EQUALIZER}/config",
        _of_equalizer(lambda _, one, __: Answer(200, documents.repeated(one, CONFIG))),
    ),
    Route(
        "GET",
        f"{_EQUALIZER}/state",
        _of_equalizer(_equalizer_state),
    ),
    Route(
        "POST", f"{_EQUALIZER}/commands/configure_max_allocated_current", _of_equalizer(_allocate)
    ),
    Route("GET", _SURPLUS, _of_equalizer(lambda _, one, __: Answer(200, one.surplus))),
    Route("POST", _SURPLUS, _of_equalizer(_set_surplus)),
    Route("GET", _DETAILS, _of_charger(_ocpp)),
    Route("POST", _DETAILS, _of_charger(_set_ocpp)),
    Route("POST", "/local-ocpp/v1/connections/chargers/{id}", _of_charger(_connect_ocpp)),
    Route("GET", "/api/commands/{device}/{command}/{ticks}", _command_state),
    Route("POST", f"{_CHARGER}/commands/{{name}}", _command),
    Route("POST", f"{_CHARGER}/settings", _settings),
    Route("PUT", f"{_CHARGER}/access", _set_access),
    Route("DELETE", f"{_CHARGER}/access", _site_access),
    Route("GET", f"{_CHARGER}/schedules", _reads(_schedules)),
    *(
        Route(method, f"{_CHARGER}/{folder}{kind}", build(kind))
        for folder, kind in (
            ("", "basic_charge_plan"),
            ("", "weekly_charge_plan"),
            *(("schedules/", kind) for kind in plans.SCHEDULES),
        )
        for method, build in (
            ("GET", _plan_read),
            ("POST", _plan_write),
            ("DELETE", _plan_delete),
        )
    ),
    *(
        Route("POST", f"{_CHARGER}/schedules/{kind}/{word}", _plan_switch(kind, on=on))
        for kind in plans.SCHEDULES
        for word, on in (("enable", True), ("disable", False))
    ),
)
