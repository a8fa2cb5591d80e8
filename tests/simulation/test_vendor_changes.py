"""A vendor that changes one thing at a time: each is noticed within hours, and nothing else is."""

import json
from dataclasses import replace

import pytest

from tests.simulation.options import draw
from tests.simulation.simulation import HOUR_S, Simulation

# One change in so many hours; each is to be noticed within a day.
PERIOD_H = 2.0
QUIET = 14
END = "\x1e"
LIST, VALUES = "/api/chargers", "/observations"


def hub(change, target="ProductUpdate"):
    """Change a message of the hub."""

    def apply(vendor):
        def rewrite(record):
            if f'"{target}"' not in record:
                return [record]
            document = json.loads(record.rstrip(END))
            return [json.dumps(one) + END for one in change(document)]

        vendor.rewrite_record = rewrite

    return apply


def update(**fields):
    """Change fields of an observation on the stream; None takes one out."""

    def change(document):
        for one in document["arguments"]:
            one.update(fields)
            for name in [name for name, value in fields.items() if value is None]:
                del one[name]
        return [document]

    return hub(change)


def said(number, **fields):
    """Have the stream tell of one more observation with each."""

    def change(document):
        more = json.loads(json.dumps(document))
        more["arguments"][0] |= {"id": number, **fields}
        return [document, more]

    return hub(change)


def answer(path, change=None, status=None, **headers):
    """Change the answer to a path: its document, its status or its headers."""

    def apply(vendor):
        def rewrite(request, was, named, content):
            if not request.path.partition("?")[0].endswith(path) or was != 200:
                return was, named, content
            if change is not None:
                content = json.dumps(change(json.loads(content))).encode()
            names = {name.replace("_", "-"): value for name, value in headers.items()}
            return status or was, named | names, b"" if status else content

        vendor.rewrite = rewrite

    return apply


def each(change):
    """Change every element of a list, or of the list of observations."""

    def apply(document):
        for one in document["observations"] if isinstance(document, dict) else document:
            change(one)
        return document

    return apply


def without(name):
    """Take out a field."""
    return each(lambda one: one.pop(name, None))


def having(**fields):
    """Add or change fields."""
    return each(lambda one: one.update(fields))


def values(change):
    """Add an observation to the answer."""

    def apply(document):
        document["observations"].append(document["observations"][0] | change)
        return document

    return apply


def refusing(vendor):
    """Refuse some requests for the list for being too many."""
    count = iter(range(10**9))

    def rewrite(request, was, named, content):
        if request.path.partition("?")[0].endswith(LIST) and next(count) % 6 == 0:
            return 429, named, b""
        return was, named, content

    vendor.rewrite = rewrite


ON_THE_STREAM = [
    ("observation 300", said(300, value="1", dataType=4)),
    ("observation 4711", said(4711, value="x", dataType=6)),
    ("code 109 11", said(109, value="11", dataType=4)),
    ("code 96 250", said(96, value="250", dataType=4)),
    ("code 46 99", said(46, value="99", dataType=4)),
    ("type 120 4", said(120, value="1", dataType=4)),
    ("type 48 6", said(48, value="16", dataType=6)),
    ("came hub ProductUpdate: arguments[] quality", update(quality=1)),
    ("left hub ProductUpdate: arguments[] dataType", update(dataType=None)),
    ("type hub ProductUpdate: arguments[] value object", update(value={"a": 1})),
    ("came hub ProductUpdate: the document headers", hub(lambda one: [one | {"headers": {}}])),
    ("hub ", hub(lambda one: [one, one | {"target": "ChargerUpdate"}])),
    ("came GET /api/chargers: [] tier", answer(LIST, having(tier="gold"))),
    ("left GET /api/chargers: [] color", answer(LIST, without("color"))),
    ("type GET /api/chargers: [] name object", answer(LIST, having(name={"en": "x"}))),
    ("Deprecation GET /api/chargers", answer(LIST, Deprecation="@1767225600")),
    ("Sunset GET /api/chargers", answer(LIST, Sunset="Fri, 01 Jan 2027 00:00:00 GMT")),
    ("status 418 GET /api/chargers", answer(LIST, status=418)),
    ("gone GET /api/chargers", answer(LIST, status=410)),
    ("limit GET /api/chargers", refusing),
]
BY_POLLING = [
    ("observation 301", answer(VALUES, values({"id": 301, "value": 1, "dataType": 4}))),
    ("code 109 12", answer(VALUES, values({"id": 109, "value": 12, "dataType": 4}))),
    ("type 121 6", answer(VALUES, values({"id": 121, "value": "x", "dataType": 6}))),
    (
        "came GET /state/{}/observations: observations[] unit",
        answer(VALUES, having(unit="W")),
    ),
    (
        "left GET /state/{}/observations: observations[] dataType",
        answer(VALUES, without("dataType")),
    ),
    (
        "type GET /state/{}/observations: observations[] timestamp number",
        answer(VALUES, having(timestamp=1)),
    ),
    (
        "came GET /state/{}/observations: the document next",
        answer(VALUES, lambda document: document | {"next": None}),
    ),
    ("Sunset GET /state/{}/observations", answer(VALUES, Sunset="tomorrow")),
    ("limit GET /state/{}/observations", answer(VALUES, RateLimit_Limit="5")),
    ("gone GET /state/{}/observations", answer(VALUES, status=404)),
]


def life(changes, *, poll, named=None):
    """Live through quiet periods and one for each change; return what was found in which.

    Args:
        changes: In order.
        poll: Values are read over REST.
        named: A change of the whole life.
    """
    periods = QUIET + len(changes) + 1
    options = replace(
        draw(3, longest_hours=PERIOD_H * periods, exactly=True, rarer=24.0),
        poll=poll,
        chargers=1,
        listed=True,
        thin=True,
        days_away=False,
        frames_cut=0.0,
        faults={},
    )
    simulation = Simulation(options)
    simulation.oracle.fail = lambda _promise: None  # judged elsewhere
    simulation._replay = lambda: None
    found, known = [], set()
    usual = named or (lambda vendor: None)

    def begin(number):
        vendor = simulation.vendor
        facts = simulation.process.machine.components["vendor"].facts
        found.append({key for key in facts if key not in known})
        known.update(facts)
        vendor.rewrite = lambda _request, *said: said
        vendor.rewrite_record = lambda record: [record]
        usual(vendor)
        change = number - QUIET
        if 0 <= change < len(changes):
            changes[change][1](vendor)
        simulation.timeline.later(PERIOD_H * HOUR_S, lambda: begin(number + 1))

    usual(simulation.vendor)
    simulation.timeline.later(PERIOD_H * HOUR_S, lambda: begin(1))
    simulation.run()
    return found, simulation


@pytest.mark.parametrize("poll", [False, True])
def test_a_vendor_as_it_is_known_has_no_changes(poll):
    """All that a charger says is as the registry describes it, on the stream and over REST."""
    options = replace(
        draw(3, longest_hours=1.0, exactly=True),
        poll=poll, chargers=1, listed=True, thin=False, days_away=False, faults={},
    )  # fmt: skip
    simulation = Simulation(options)
    simulation._replay = lambda: None
    simulation.run()

    assert simulation.process.machine.components["vendor"].facts == {}


@pytest.mark.parametrize(
    ("changes", "poll", "named"),
    [
        (ON_THE_STREAM, False, None),
        (BY_POLLING, True, answer(VALUES, RateLimit_Limit="60")),
    ],
)
def test_each_of_thirty_changes_is_noticed_within_a_day(changes, poll, named):
    """One change in two hours, each is a fact of its time; 28 quiet hours have none."""
    found, simulation = life(changes, poll=poll, named=named)
    periods = found[: QUIET + len(changes) + 1]

    assert periods[:QUIET] == [set()] * QUIET
    for (expected, _), facts in zip(changes, periods[QUIET:], strict=False):
        assert any(fact.startswith(expected) for fact in facts), (expected, facts)
        assert len(facts) == 1, (expected, facts)
    assert len(ON_THE_STREAM) + len(BY_POLLING) == 30
    alert = simulation.broker.retained["charger/bridge/alert/vendor_change"]
    assert b"the vendor changed something: " in alert
