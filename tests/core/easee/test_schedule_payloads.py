"""Schedule orders: what a payload asks for, the requests, and what shows that it was done."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.easee.schedule_payloads import (
    ScheduleOrder,
    check_overlaps,
    is_shown,
    order_lookup,
    order_request,
    schedule_order,
)
from bridge.core.easee.schedules import (
    KINDS,
    WEEKDAYS,
    Period,
    Schedule,
    Schedules,
    body_of,
    clock_text,
    read_schedules,
    schedule_fields,
)
from bridge.errors import CommandRefused

ONE = "EH123456"
BASE = f"/api/chargers/{ONE}/schedules"
OSLO = "Europe/Oslo"
TEN_PM, SIX_AM = 22 * 60, 6 * 60
MORNING = {"start": "05:00", "stop": "07:00"}
NIGHT = {"start": "22:00", "stop": "06:00", "amps": 16}


def daily(*periods, **change):
    """Spell the payload of a daily schedule."""
    return {"enabled": True, "timezone": OSLO, "periods": list(periods or [NIGHT]), **change}


# -- payloads --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "value", "periods"),
    [
        ("delayed", daily({"start": "22:00"}), (Period(TEN_PM),)),
        ("daily", daily(), (Period(TEN_PM, SIX_AM, 16),)),
        (
            "weekly",
            daily({**NIGHT, "from": "Sunday"}, {**MORNING, "from": "friday"}),
            (Period(TEN_PM, SIX_AM, 16, 6, 0), Period(300, 420, None, 4, 4)),
        ),
        (
            "weekly",
            daily({**NIGHT, "from": "monday", "to": "wednesday"}),
            (Period(TEN_PM, SIX_AM, 16, 0, 2),),
        ),
    ],
)
def test_a_whole_schedule(kind, value, periods):
    """Without a day of the stop the next one due."""
    order = schedule_order(kind, value, 25)

    assert order == ScheduleOrder(kind, "set", Schedule(OSLO, periods, enabled=True))
    assert order.puts_in_force


def test_a_time_may_have_seconds_that_say_nothing():
    """Home Assistant spells times so, and the vendor."""
    spelled = daily({**NIGHT, "start": "22:00:00", "stop": "06:00:00"})
    plain = daily({**NIGHT, "start": "22:00", "stop": "06:00"})

    assert schedule_order("daily", spelled, 32) == schedule_order("daily", plain, 32)


@pytest.mark.parametrize(
    ("value", "action"),
    [
        ({"enabled": True}, "enable"),
        ({"enabled": False}, "disable"),
        ({"clear": True}, "clear"),
        (None, "clear"),
        ("Clear", "clear"),
        (True, "enable"),
        ("off", "disable"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_schedule_is_switched_or_removed(kind, value, action):
    """By an object, or by a bare word."""
    order = schedule_order(kind, value, 32)

    assert (order.kind, order.action) == (kind, action)
    assert order.puts_in_force is (action == "enable")


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        ("daily", {}, "a daily schedule is"),
        ("daily", 16, "true or false"),
        ("daily", {"clear": False}, "clear is true"),
        ("daily", {"clear": True, "enabled": True}, "the keys are"),
        ("daily", {"enabled": 1}, "enabled is true or false"),
        ("daily", {"stat": "22:00"}, "a daily schedule is"),
        ("delayed", {"stop": "22:00"}, "a delayed schedule is"),
        ("weekly", {"start": "22:00"}, "a weekly schedule is"),
        ("daily", daily(timezone="Oslo"), 'like "Europe/Oslo"'),
        ("daily", daily(timezone=1), 'like "Europe/Oslo"'),
        ("daily", daily(periods=[]), "1 to 28"),
        ("daily", daily(periods={}), "1 to 28"),
        ("daily", daily(*[NIGHT] * 29), "1 to 28"),
        ("delayed", daily({"start": "22:00"}, {"start": "23:00"}), "1 start"),
        ("delayed", daily(NIGHT), "the keys are"),
        ("daily", daily({**NIGHT, "from": "monday"}), "the keys are"),
        ("weekly", daily(NIGHT), "the keys are"),
        ("weekly", daily({**NIGHT, "from": "mon"}), "from is a day"),
        ("weekly", daily({**NIGHT, "from": "monday", "to": 2}), "to is a day"),
        ("daily", daily("22:00"), "a daily schedule is"),
        ("daily", daily({**NIGHT, "from": "monday"}), "'from' is no key here"),
        ("daily", daily({"start": "22:00"}), "'stop' is missing"),
        ("daily", daily({**NIGHT, "start": "22:00:30"}), "local time"),
        ("daily", daily({**NIGHT, "start": "22::00"}), "local time"),
        ("daily", daily({**NIGHT, "start": "22"}), "local time"),
        ("daily", daily({**NIGHT, "start": "7:00"}), "local time"),
        ("daily", daily({**NIGHT, "start": "24:00"}), "local time"),
        ("daily", daily({**NIGHT, "stop": "06:60"}), "local time"),
        ("daily", daily({**NIGHT, "stop": "06:00Z"}), "local time"),
        ("daily", daily({**NIGHT, "stop": "\u0660\u0666:\u0660\u0660"}), "local time"),
        ("daily", daily({**NIGHT, "stop": "22:00"}), "is empty"),
        ("daily", {"start": "22:00", "stop": "22:00"}, "is empty"),
        ("weekly", daily({**NIGHT, "from": "monday", "to": "monday"}), "lies before start"),
        ("daily", daily({**NIGHT, "amps": 5}), "from 6"),
        ("daily", daily({**NIGHT, "amps": "16"}), "a number"),
        ("daily", daily(NIGHT, MORNING), "overlap"),
        ("daily", daily(NIGHT, {"start": "22:00", "stop": "23:00"}), "overlap"),
        (
            "weekly",
            daily({**NIGHT, "from": "sunday"}, {**MORNING, "from": "monday"}),
            "overlap",
        ),
    ],
)
def test_what_makes_no_schedule_is_refused(kind, value, said):
    """With one line that says what is allowed."""
    with pytest.raises(CommandRefused) as refused:
        schedule_order(kind, value, 32)

    assert refused.value.reason == "invalid_value"
    assert said in refused.value.detail
    assert "\n" not in refused.value.detail


@pytest.mark.parametrize("value", [daily({**NIGHT, "amps": 17}), {"amps": 17}])
def test_no_schedule_asks_for_more_than_is_allowed(value):
    """``commands.max_current_a`` holds here too."""
    with pytest.raises(CommandRefused) as refused:
        schedule_order("daily", value, 16)

    assert refused.value.reason == "over_limit"


def test_periods_that_touch_do_not_overlap():
    """The end of one may be the start of the next, over midnight and the week too."""
    check_overlaps("daily", (Period(0, 720), Period(720, 0)))
    check_overlaps("weekly", (Period(0, 0, None, 0, 1), Period(0, 0, None, 1, 0)))


# -- requests --------------------------------------------------------------------------------------


def test_a_period_without_amps_has_the_highest_current_allowed():
    """It is sent, for the vendor's body has one, and the order does not depend on it."""
    value = daily({"start": "22:00", "stop": "06:00"})
    first, second = schedule_order("daily", value, 25), schedule_order("daily", value, 10**6)
    body = json.loads(order_request(ONE, {}, first).body)

    assert body["periods"][0]["maximumAmps"] == 25
    assert (first, repr(first)) == (second, repr(second))
    held = Schedules("daily", daily=Schedule(OSLO, (Period(TEN_PM, SIX_AM, 25),)))
    assert is_shown(second, held)


def test_a_whole_schedule_needs_nothing_to_be_asked_before():
    """It is posted; switching and removing have paths of their own."""
    order = schedule_order("daily", daily(), 32)
    posted = order_request(ONE, {}, order)
    removed = order_request(ONE, {}, schedule_order("weekly", None, 32))
    switched = order_request(ONE, {}, schedule_order("delayed", False, 32))

    assert (posted.method, posted.path) == ("POST", f"{BASE}/daily")
    assert posted.body == body_of("daily", order.schedule)
    assert (removed.method, removed.path, removed.body) == ("DELETE", f"{BASE}/weekly", None)
    assert (switched.method, switched.path) == ("POST", f"{BASE}/delayed/disable")
    assert posted.command


def asked(order, answers):
    """Ask for what an order needs, as the dispatcher does; return its request and the paths."""
    documents = {}
    while (request := order_request(ONE, documents, order)) is None:
        lookup = order_lookup(ONE, documents, order)
        documents[lookup.path] = answers.get(lookup.path.removeprefix(BASE), b"")
    return request, [path.removeprefix(BASE) for path in documents]


HELD = json.dumps(
    {
        "enabled": "daily",
        "daily": {
            "timezone": OSLO,
            "periods": [{"startTime": "22:00:00", "stopTime": "06:00:00", "maximumAmps": 16}],
        },
        "delayed": None,
        "weekly": None,
    }
).encode()


@pytest.mark.parametrize(
    ("change", "enabled", "start", "stop", "amps"),
    [
        ({"start": "23:30"}, True, "23:30:00", "06:00:00", 16),
        ({"stop": "07:15", "amps": 10}, True, "22:00:00", "07:15:00", 10),
        ({"amps": 10, "enabled": False}, False, "22:00:00", "06:00:00", 10),
    ],
)
def test_a_change_keeps_everything_else(change, enabled, start, stop, amps):
    """It is made of what the cloud holds: one request before, where the summary tells it."""
    request, paths = asked(schedule_order("daily", change, 32), {"": HELD})

    assert paths == [""]
    assert json.loads(request.body) == {
        "enabled": enabled,
        "timezone": OSLO,
        "periods": [{"startTime": start, "stopTime": stop, "maximumAmps": amps}],
    }


def test_a_change_asks_for_the_schedule_where_the_summary_does_not_tell_it():
    """Also without any summary; whether it is in force is told by either."""
    own = json.dumps(json.loads(HELD)["daily"] | {"enabled": True}).encode()
    for answers in ({"": b'{"enabled":"daily"}', "/daily": own}, {"/daily": own}):
        request, paths = asked(schedule_order("daily", {"start": "23:00"}, 32), answers)
        assert paths == ["", "/daily"]
        assert json.loads(request.body)["enabled"] is True


@pytest.mark.parametrize(
    ("kind", "change", "periods"),
    [
        ("daily", {"start": "23:00"}, [{"startTime": "23:00:00", "stopTime": "06:00:00"}]),
        ("daily", {"stop": "05:00"}, [{"startTime": "22:00:00", "stopTime": "05:00:00"}]),
    ],
)
def test_a_first_change_makes_a_schedule_that_is_not_in_force(kind, change, periods):
    """With a time zone it is complete; it begins disabled, at the current that is allowed."""
    request, _ = asked(schedule_order(kind, {**change, "timezone": OSLO}, 25), {})

    assert json.loads(request.body) == {
        "enabled": False,
        "timezone": OSLO,
        "periods": [{**periods[0], "maximumAmps": 25}],
    }


def test_a_delayed_start_is_made_of_single_values_too():
    """A flat payload with everything is one."""
    value = {"enabled": True, "timezone": OSLO, "start": "22:00", "amps": 16}
    request, _ = asked(schedule_order("delayed", value, 32), {})

    assert json.loads(request.body) == {
        "enabled": True,
        "timezone": OSLO,
        "startTime": "22:00:00",
        "maximumAmps": 16,
    }


TWO = json.dumps(
    {
        "enabled": "none",
        "daily": {
            "timezone": OSLO,
            "periods": [
                {"startTime": "22:00", "stopTime": "06:00"},
                {"startTime": "12:00", "stopTime": "13:00"},
            ],
        },
    }
).encode()


@pytest.mark.parametrize(
    ("kind", "change", "summary", "said"),
    [
        ("daily", {"start": "23:00"}, b"{}", "holds no daily schedule"),
        ("weekly", {"amps": 10, "timezone": OSLO}, b"{}", "holds no weekly schedule"),
        ("daily", {"start": "23:00"}, TWO, "2 periods"),
        ("daily", {"start": "06:00"}, HELD, "is empty"),
        ("daily", {"start": "23:00"}, b'{"daily":5}', "cannot be read"),
        ("daily", {"start": "23:00"}, b"<html>", "cannot be read"),
    ],
)
def test_a_change_that_cannot_be_made_is_refused(kind, change, summary, said):
    """With what to do instead."""
    with pytest.raises(CommandRefused) as refused:
        asked(schedule_order(kind, change, 32), {"": summary})

    assert said in refused.value.detail


def test_the_current_of_several_periods_is_changed_at_once():
    """Only times are ambiguous."""
    request, _ = asked(schedule_order("daily", {"amps": 10}, 32), {"": TWO})

    assert [p["maximumAmps"] for p in json.loads(request.body)["periods"]] == [10, 10]


DELAYED = b'{"enabled":"delayed","delayed":{"timezone":"UTC","startTime":"22:00"},"daily":null}'


@pytest.mark.parametrize(
    ("summary", "path"),
    [(HELD, "/daily"), (DELAYED, "/delayed"), (b"{}", "/daily")],
)
def test_a_basic_plan_is_removed_whichever_schedule_it_became(summary, path):
    """The daily one, or the delayed one where only that is there."""
    order = ScheduleOrder("daily", "clear", also="delayed")
    request, _ = asked(order, {"": summary})

    assert (request.method, request.path) == ("DELETE", f"{BASE}{path}")


# -- readback --------------------------------------------------------------------------------------

PERIOD = Period(TEN_PM, SIX_AM, 16.0)
SCHEDULE = Schedule(OSLO, (PERIOD,))
IN_FORCE = Schedules("daily", daily=SCHEDULE)
STORED = Schedules("none", daily=SCHEDULE)


@pytest.mark.parametrize(
    ("value", "held", "expected"),
    [
        (daily(), IN_FORCE, True),
        (daily(), STORED, False),
        (daily(enabled=False), STORED, True),
        (daily(enabled=False), IN_FORCE, False),
        (daily(timezone="UTC"), IN_FORCE, False),
        (daily({**NIGHT, "amps": 10}), IN_FORCE, False),
        (daily(), Schedules("daily"), False),
        (True, IN_FORCE, True),
        (True, STORED, False),
        (False, STORED, True),
        (False, IN_FORCE, False),
        (None, Schedules(), True),
        (None, STORED, False),
        ({"start": "22:00"}, STORED, True),
        ({"start": "22:00"}, Schedules(), False),
        ({"start": "23:00"}, STORED, False),
        ({"amps": 16, "enabled": True}, IN_FORCE, True),
        ({"amps": 16, "enabled": True}, STORED, False),
        ({"timezone": "UTC"}, IN_FORCE, False),
    ],
)
def test_what_the_cloud_holds_shows_an_order_or_not(value, held, expected):
    """The whole of a schedule, the values that were changed, whether it is in force or gone."""
    assert is_shown(schedule_order("daily", value, 32), held) is expected


CLOCKS = st.integers(0, 24 * 60 - 1).map(clock_text)


@st.composite
def orders(draw):
    """Draw a payload of any kind that may be valid."""
    kind = draw(st.sampled_from(KINDS))
    fields = {"start": CLOCKS, "amps": st.integers(6, 32)}
    if kind != "delayed":
        fields["stop"] = CLOCKS
    if kind == "weekly":
        fields |= {key: st.sampled_from(WEEKDAYS) for key in ("from", "to")}
    periods = draw(st.lists(st.fixed_dictionaries(fields), min_size=1, max_size=3))
    zone = draw(st.sampled_from([OSLO, "UTC"]))
    return kind, {"enabled": draw(st.booleans()), "timezone": zone, "periods": periods}


@given(orders())
def test_what_is_shown_can_be_sent_again(drawn):
    """A schedule that was set reads back as it was sent, and means the same as a payload."""
    kind, value = drawn
    try:
        order = schedule_order(kind, value, 32)
    except CommandRefused:
        return
    body = json.loads(order_request(ONE, {}, order).body)
    in_force = kind if order.schedule.enabled else "none"
    held = read_schedules({"schedules": json.dumps({"enabled": in_force, kind: body}).encode()})
    shown = schedule_fields(held.of(kind), is_in_force=held.in_force == kind)

    assert is_shown(order, held)
    assert shown == value
    assert schedule_order(kind, shown, 32) == order
