"""Generates the topic reference (docs/topics.md) from the tables of the program."""

from collections.abc import Iterable, Iterator
from itertools import groupby

from bridge.core.easee import enumerations, phases, roles
from bridge.core.easee.command_catalogue import CATALOGUE, allowed
from bridge.core.easee.derived_state import DERIVED, ENERGY_TOTAL, TOUCH_BUTTON, DerivedTopic
from bridge.core.easee.enumerations import LED_MODE, OP_MODE, Labels
from bridge.core.easee.equalizer import EQUALIZER
from bridge.core.easee.equalizer_derived import EQUALIZER_DERIVED
from bridge.core.easee.observation_registry import REGISTRY, spec_of
from bridge.core.easee.observation_spec import NAMES_NOBODY, ObservationSpec
from bridge.core.easee.selection import DERIVED_GROUPS, EVERYTHING, Selection
from bridge.core.easee.sites import CIRCUIT_FACTS
from bridge.core.queries.catalogue import QUERIES
from bridge.core.topics import PARTITION, Topics
from bridge.exports.markdown import code, table

_RULES = """\
Generated from the tables of the program; edit those. `charger-bridge topics --config FILE` prints
it for a configuration.

Every message has QoS 1. Times are ISO 8601 in UTC with `Z`. Numbers are plain decimals, booleans
`true` and `false`, and unknown values are `null`. `measured_at` is the charger's time,
`received_at` the time of the bridge. A retained value is the newest by `measured_at`, in whatever
order observations arrived; values are published when they change, and again after the broker lost
them.

With MQTT 5 the bare values also carry `measured_at`, `unit` and `id` as user properties.

With `homeassistant.enabled` retained discovery messages are published below
`homeassistant.discovery_prefix`, and the bridge subscribes to `homeassistant.status_topic`.
With `sparkplug.enabled` every charger is a Sparkplug B device too, below `spBv1.0/`."""

_PERSONAL = """\
*Personal* marks personal data: never retained, and published as `sha256:` with a salted hash unless
`publish.personal_data` is true. An empty text stays empty; as a bare value it is an empty message,
which a broker does not retain. *Auth removed* marks a JSON
text that is retained without the fields with a tag or token; if they cannot be removed reliably, it
is not published. Any other JSON text is published without fields whose names indicate an
address, a person or a network, also for unknown ids. The listed type is the usual one;
the type given in a message has precedence. An id that is not listed is published as
`observation_<id>`. The group, the name and the id are the words of `publish.only` and
`publish.except`; an id without a row is a diagnostic."""

_PHASES = """\
`current_l1` to `power_l3` are derived from the observations of the terminals. The grid type (21)
tells which conductor is connected to which terminal; where it tells nothing (-1, 0, or not seen),
the output phase (110) does: 10, 12, 14, 20, 21 and 30 mean TN, 11, 13, 15 and 22 IT. With codes 50
to 52, or when 21 and 110 exclude each other, the wiring is unknown and every value is `null`.
`none`: the grid does not have this conductor; its current and its power are 0, its voltage is
`null`. On a TN grid the voltage is that to N and the power the product of both. On an IT grid the
voltage is that to the next conductor; the power of the pair in use (110) is attributed in halves to
its two conductors, and with three wires (22) it is `null`. `total_power` is the measured sum."""

_EQUALIZER = """\
An Equalizer is a device in the same tree: `<id>` is its serial, and its topics are `availability`,
`observation/<name>`, `state/<name>`, `set/<command>` and `result/<command>`. It has ids of its own.
The Equalizers of the account are found without configuration; `bridge/info` lists them. Its values
come every few seconds: they are published at most every `publish.equalizer_interval_s`, the newest
of each."""

_ENERGY = """\
`energy_total` is the newest reading of the meter (124 about once an hour, and at the start and the
end of a session: 223, 129), to which power over time (120) is added. A reading corrects it. It
never falls: while it is ahead of the meter it stays until the meter has caught up, so nothing is
counted twice. Estimates are published 2 s before each full and half minute while energy flows.
Power holds until the next value, at most 20 minutes after the last sign of life of the charger.
After a restart it continues from the retained value, or from `energy_total.json` in the state
directory; the power of before is added once the charger told its power again, or after a minute."""

_TOUCH_BUTTON = (
    "`enabled` or `disabled`; published after a confirmed command has switched smart charging"
    " through its setting: switched off there, the touch button is disabled until smart charging is"
    " on again"
)


def topic_reference(
    topics: Topics, allow: tuple[str, ...] | None = None, selection: Selection = EVERYTHING
) -> str:
    """Return the reference of one topic tree as Markdown.

    Args:
        topics: The tree.
        allow: ``commands.allow`` of a configuration, to mark refused commands; None for none.
        selection: The values that are published; others are left out.
    """
    specs = tuple(filter(selection.has, REGISTRY.values()))
    meter = tuple(filter(selection.has, EQUALIZER.values()))
    settings_of = [one for one in EQUALIZER_DERIVED if selection.has_derived(one.name)]
    parts = (
        "# Topics",
        _RULES,
        "## Published topics",
        table(("topic", "retained", "payload"), _published(topics)),
        "The retained topics of a charger are cleared after it left the account (operations.md).",
        "## Subscribed topics",
        table(("topic", "payload"), _listened(topics)),
        "## Derived state",
        f"Retained, on {code(topics.state('<id>', '<name>'))}, once a value is known.",
        table(("name", "derived from", "group", "values"), _derived_rows(selection)),
        "## Phases",
        _PHASES,
        table(("grid", "code", "L1", "L2", "L3"), map(_wiring, phases.WIRINGS)),
        "## Energy",
        _ENERGY,
        "## Observations",
        _where(topics),
        _PERSONAL,
        table(("id", "name", "type", "unit", "group", "", "description"), map(_observation, specs)),
        "Texts and ids that are not personal data, with the reason:",
        table(("id", "name", "reason"), _not_personal(specs)),
        "## Labels",
        "`label` in the document is the name of a code, `null` for an unknown code.",
        *(_labels(spec) for spec in specs if spec.labels and spec.id != roles.LED_MODE),
        "## Equalizer observations",
        _EQUALIZER,
        f"Derived state, retained, on {code(topics.state('<serial>', '<name>'))}:",
        table(("name", "derived from", "group", "values"), map(_derived_row, settings_of)),
        "Observations:",
        table(("id", "name", "type", "unit", "group", "", "description"), map(_observation, meter)),
        "Texts and ids that are not personal data, with the reason:",
        table(("id", "name", "reason"), _not_personal(meter)),
        *(_labels(spec) for spec in meter if spec.labels),
        f"## LED strip ({roles.LED_MODE})",
        table(("code", "`led`", "`led_color`", "`led_pattern`"), _led_rows()),
        "## Commands",
        f"On `{topics.base}/<id>/set/<command>`. *flash*: wears the charger's flash memory.",
        *_commands(allow),
        "## Queries",
        _asked(topics),
        table(("query", "payload", "`value`"), _queries()),
        "## Vendor command ids",
        "Used in `foreign_command` events; not related to the ids of observations.",
        _codes(enumerations.COMMAND),
    )
    return "\n\n".join(parts) + "\n"


def _where(topics: Topics) -> str:
    document = code(topics.observation("<id>", "<name>"))
    bare = code(topics.state("<id>", "<name>"))
    return f"The JSON document is on {document}, the bare value on {bare}."


def _asked(topics: Topics) -> str:
    asked, told = code(f"{topics.base}/<id>/get/<query>"), code(topics.result("<id>", "<query>"))
    return (
        f"On {asked}, answered once on {told} like a command, with the data in `value`. Queries use"
        " the request budget: `refused` with `busy` when it is exhausted."
    )


def _published(topics: Topics) -> Iterator[tuple[str, str, str]]:
    one = "<id>"
    yield code(topics.bridge_state), "yes, and will", "`online`, `offline`"
    yield (
        code(topics.bridge_cloud),
        "yes",
        "`connected`, `degraded` (polling or partial), `disconnected`, `auth_failed`, `blocked`",
    )
    yield (
        code(topics.bridge_info),
        "yes",
        (
            "JSON: version, client_id, instance, started_at, chargers, equalizers, capabilities;"
            " with several partitions also partitions (partition, owner, chargers) and members"
        ),
    )
    yield code(topics.bridge_health), "yes", "JSON: one summary"
    yield (
        code(topics.bridge_heartbeat),
        "no",
        (
            "JSON: client_id, instance, started_at, at, count, about every 10 s; the bridge"
            " subscribes to it, and reconnects when it does not arrive"
        ),
    )
    yield (
        code(topics.alert("<kind>")),
        "yes, cleared when resolved",
        "JSON: kind, message, hint, since",
    )
    yield (
        code(topics.alert("session_unreadable/<id>")),
        "yes, cleared when resolved",
        (
            "the same, for a charger with a session report that cannot be read; the cloud's list is"
            " read within a minute"
        ),
    )
    yield (
        code(f"{topics.base}/{PARTITION}/<nn>/…"),
        "as above",
        (
            "`state`, `cloud`, `info`, `health`, `heartbeat` and `alert/…` of one of several"
            " partitions (cluster.partitions); those above are of all"
        ),
    )
    yield (
        code(topics.availability(one)),
        "yes",
        (
            "`online`, `offline`: bridge, cloud and charger or Equalizer (250, op mode, heard from"
            f" within 20 min). Valid only while {code(topics.bridge_state)} is `online`: a bridge"
            " that was killed cannot withdraw it"
        ),
    )
    yield (
        code(topics.observation(one, "<name>")),
        "yes",
        "JSON: id, name, value, label, unit, measured_at, received_at, source",
    )
    yield (
        code(topics.observation(one, ENERGY_TOTAL)),
        "yes",
        (
            "JSON: id (`null`), name, value, label (`null`), unit, measured_at, received_at, source"
            " (`derived`), estimated (`false` for a reading of the meter, `true` in between),"
            " power_kw (what is added from then on)"
        ),
    )
    yield code(topics.state(one, "<name>")), "yes", "the bare value, or a derived value"
    yield (
        code(topics.event(one, "<kind>")),
        "no",
        "JSON: `smart_button`, `authorization_requested`, `foreign_command`, `error`",
    )
    yield (
        code(topics.session(one, "current")),
        "yes, cleared when it ends",
        "JSON of the running session",
    )
    yield (
        code(topics.session(one, "last")),
        "yes",
        "JSON of the newest finished session, with its `key` and `revision`",
    )
    yield (
        code(topics.session(one, "report")),
        "no",
        (
            "JSON of every finished session, once or more with the same `key`; a higher `revision`"
            " marks a correction; `incomplete` lists fields that could not be read, `clock` is"
            " `suspect` if a time is impossible"
        ),
    )
    yield (
        code(topics.schedule(one)),
        "yes",
        (
            "JSON of the schedules that the cloud holds: `in_force` (`delayed`, `daily`, `weekly`,"
            " `none`, `ocpp.direct` or another word of the vendor), `in_period`, `next_start` and"
            " `next_stop` of the one in force, each schedule as its command takes it or null, and"
            " `read_at`"
        ),
    )
    yield code(topics.result(one, "<command>")), "no", "JSON: the result of a command or query"
    site = f"{topics.base}/site/<site_id>"
    yield (
        code(f"{site}/info"),
        "yes, cleared when it left",
        (
            "JSON: site_id, rated_current, circuits (circuit_id, rated_current, fuse_current,"
            " chargers), chargers, equalizers; with `publish.personal_data` also name, address"
        ),
    )
    names = ", ".join(map(code, CIRCUIT_FACTS.values()))
    yield (
        code(f"{site}/circuit/<circuit_id>/state/<name>"),
        "yes, cleared when it left",
        f"the bare value of what the cloud tells of a circuit, A or `true`, `false`: {names}",
    )
    yield code(f"{site}/result/<command>"), "no", "JSON: the result of a command or query to a site"
    yield (
        code(topics.command(one, "<command>")),
        "cleared",
        "empty, to clear a retained command; otherwise subscribed",
    )


def _listened(topics: Topics) -> Iterator[tuple[str, str]]:
    meanings = (
        "a command: a bare value, or JSON with value, id, ttl_s, expires_at; never retained",
        "a query, answered on the result topic",
        (
            "the `key` of a received session report, bare, or JSON"
            ' `{"key": …, "revision": …}`, or a list of these: it counts as delivered'
        ),
        'JSON `{"since": …, "charger": …}`, both optional: publish stored reports again',
        (
            "the serial of a charger that left the account: its retained topics are cleared"
            " at once instead of after a day; never retained"
        ),
        "a command to a site, as to a charger of it",
        "a query to a site, likewise",
    )
    named = (
        f"{topics.base}/<id>/set/<command>",
        f"{topics.base}/<id>/get/<query>",
        *topics.subscriptions[2:5],
        f"{topics.base}/site/<site_id>/set/<command>",
        f"{topics.base}/site/<site_id>/get/<query>",
    )
    return ((code(topic), meaning) for topic, meaning in zip(named, meanings, strict=True))


def _derived_rows(selection: Selection) -> Iterator[tuple[str, ...]]:
    yield from (_derived_row(one) for one in DERIVED if selection.has_derived(one.name))
    if selection.has_derived(TOUCH_BUTTON):
        followed = f"{roles.SMART_CHARGING} and confirmed settings"
        yield code(TOUCH_BUTTON), followed, DERIVED_GROUPS[TOUCH_BUTTON], _TOUCH_BUTTON


def _derived_row(topic: DerivedTopic) -> tuple[str, ...]:
    values = topic.meaning
    if topic.name == "op_mode":
        values += ": " + ", ".join(code(label) for label in OP_MODE.values())
    return code(topic.name), ", ".join(map(str, topic.sources)), topic.group, values


def _wiring(wiring: phases.Wiring) -> tuple[str, ...]:
    codes = ", ".join(map(str, wiring.grid_types))
    return wiring.name, codes, *map(_conductor, wiring.conductors)


def _conductor(conductor: phases.Conductor) -> str:
    if conductor.current is None:
        return "none"
    measured = (conductor.current, conductor.voltage)
    return ", ".join(code(spec_of(one).name) for one in measured if one is not None)


def _observation(spec: ObservationSpec) -> tuple[str, ...]:
    mark = f"personal: {spec.privacy}" if spec.personal else ""
    if spec.auth_field:
        mark = "Auth removed"
    return (
        str(spec.id),
        code(spec.name),
        spec.kind.name.lower(),
        spec.unit or "",
        spec.group,
        mark,
        spec.description,
    )


def _not_personal(specs: Iterable[ObservationSpec]) -> Iterator[tuple[str, ...]]:
    for spec in specs:
        if spec.privacy != NAMES_NOBODY and not spec.personal:
            yield str(spec.id), code(spec.name), spec.privacy


def _labels(spec: ObservationSpec) -> str:
    return f"### {spec.name} ({spec.id})\n\n{_codes(spec.labels)}"


def _codes(labels: Labels) -> str:
    return ", ".join(f"{number} {code(label)}" for number, label in labels.items())


def _led_rows() -> Iterator[tuple[str, ...]]:
    for mode, group in groupby(LED_MODE.items(), key=lambda item: item[1]):
        codes = [mode_code for mode_code, _ in group]
        parts = (mode.meaning, mode.color, mode.pattern)
        named = f"{codes[0]} to {codes[-1]}" if len(codes) > 1 else str(codes[0])
        yield named, *(code("null" if part is None else part) for part in parts)


def _commands(allow: tuple[str, ...] | None) -> Iterator[str]:
    groups = dict.fromkeys(spec.group for spec in CATALOGUE.values())
    for group in groups:
        rows = (
            (
                code(spec.name),
                spec.takes.text,
                spec.description
                + (" (*flash*)" if spec.flash else "")
                + ("" if allow is None or allowed(spec, allow) else " (**not allowed here**)"),
            )
            for spec in CATALOGUE.values()
            if spec.group == group
        )
        yield f"### {group}\n\n" + table(("command", "payload", "effect"), rows)


def _queries() -> Iterator[tuple[str, str, str]]:
    for query_spec in QUERIES.values():
        yield code(query_spec.name), query_spec.payload, query_spec.description
