"""The judge of histories finds what is wrong, and names it for what it is."""

import pytest

from tests.workers.history import Event, findings, moved_by, refills, takeovers

GOOD = [
    Event(0.0, "take", {"partition": 0, "worker": "a", "owner": "a", "epoch": 1}),
    Event(0.5, "session", {"key": "EH000001-7"}),
    Event(0.6, "report", {"key": "EH000001-7"}),
    Event(1.0, "command", {"id": "x-1", "charger": "x", "amps": 7, "number": 1, "ttl_s": 20}),
    Event(1.1, "write", {"partition": 0, "worker": "a"}),
    Event(1.2, "request", {"partition": 0, "worker": "a", "charger": "x", "amps": 7}),
    Event(1.3, "result", {"id": "x-1", "state": "confirmed", "reason": None, "final": True}),
    Event(2.0, "fault", {"fault": "kill", "worker": "a"}),
    Event(5.5, "take", {"partition": 0, "worker": "b", "owner": "b", "epoch": 2}),
    Event(6.0, "renew", {"partition": 0, "worker": "b"}),
    Event(7.0, "command", {"id": "x-2", "charger": "x", "amps": 8, "number": 2, "ttl_s": 20}),
    Event(7.1, "request", {"partition": 0, "worker": "b", "charger": "x", "amps": 8}),
    Event(7.2, "result", {"id": "x-2", "state": "confirmed", "reason": None, "final": True}),
    # An answer that no broker acknowledged is published again as it was.
    Event(7.3, "result", {"id": "x-2", "state": "confirmed", "reason": None, "final": True}),
    Event(7.4, "bridge_state", {"state": "online"}),
]


def with_(*events):
    """Add events, in order of time."""
    return sorted([*GOOD, *events], key=lambda event: event.at)


def kinds(history):
    """Name what is wrong."""
    return {finding.kind for finding in findings(history)}


def test_a_good_history_has_no_findings():
    """A takeover that went well, and how long it took."""
    assert findings(GOOD) == []
    assert takeovers(GOOD) == [("kill", 3.5)]


RESULT = {"id": "x-2", "state": "expired", "reason": None, "final": True}
REQUEST = {"partition": 0, "worker": "b", "charger": "x", "amps": 8}
ORPHANED = {"partition": 2, "chargers": ["y"], "ends_s": 4}
ORDER = {"id": "x-3", "charger": "x", "amps": 9, "number": 3, "ttl_s": 20}


def test_a_command_for_an_orphan_may_expire_at_the_broker():
    """It cannot be answered then; one that another owner was there for must be."""
    orphaned = Event(8, "orphaned", {"partition": 2, "chargers": ["x"], "ends_s": 4})
    online = Event(32, "availability", {"charger": "x", "state": "online"})
    early, late = (Event(at, "command", ORDER) for at in (9, 14))

    assert "unanswered" not in kinds(with_(orphaned, early, online))
    assert "unanswered" in kinds(with_(orphaned, late, online))
    assert "unanswered" in kinds(with_(orphaned, Event(9, "command", ORDER | {"charger": "z"})))


def test_a_takeover_is_over_when_everything_is_served_again():
    """Of a worker that served several partitions; and a share that moves is none too much."""
    history = [
        Event(1, "joined", {"worker": "b", "share": 2}),
        Event(1, "take", {"partition": 1, "worker": "b", "owner": "b", "epoch": 2}),
        Event(1, "take", {"partition": 3, "worker": "b", "owner": "b", "epoch": 2}),
        Event(
            2,
            "fault",
            {
                "fault": "kill",
                "worker": "a",
                "partitions": [0, 2],
                "share": 2,
                "chargers": ["x", "y"],
            },
        ),
        Event(5, "take", {"partition": 2, "worker": "b", "owner": "b", "epoch": 2}),
        Event(6, "take", {"partition": 0, "worker": "b", "owner": "b", "epoch": 2}),
        Event(6.5, "value", {"charger": "x", "value": 0.0}),
        Event(7, "value", {"charger": "y", "value": 0.0}),
        Event(8, "orphaned", ORPHANED),
        Event(9, "take", {"partition": 1, "worker": "c", "owner": "c", "epoch": 3}),
        Event(9, "memory", {"worker": "c", "chargers": 1000, "partitions": 3, "mib": 84.0}),
        Event(31, "availability", {"charger": "y", "state": "offline"}),
        Event(32, "bridge_state", {"state": "offline"}),
        Event(33, "stranger", {"id": "s-1", "ttl_s": 20}),
        Event(34, "result", RESULT | {"id": "s-1", "reason": "unknown_charger"}),
    ]

    assert takeovers(history) == [("kill", 4)]
    assert refills(history) == [("kill", 2, 1)]
    assert [(event.kind, moved) for event, moved in moved_by(history)] == [
        ("joined", 2),
        ("fault", 2),
    ]
    assert findings(history) == []


@pytest.mark.parametrize(
    ("kind", "events"),
    [
        ("unanswered", [Event(8, "command", ORDER)]),
        ("answered_twice", [Event(8, "result", RESULT)]),
        ("unknown_charger", [Event(8, "result", RESULT | {"reason": "unknown_charger"})]),
        ("sent_twice", [Event(8, "request", REQUEST)]),
        ("out_of_order", [Event(8, "request", REQUEST | {"amps": 7})]),
        ("late", [Event(40, "request", REQUEST)]),
        ("never_asked_for", [Event(8, "request", REQUEST | {"amps": 31})]),
        ("sent_without_lease", [Event(8, "request", REQUEST | {"worker": "a"})]),
        ("written_without_lease", [Event(8, "write", {"partition": 0, "worker": "a"})]),
        ("renewed_without_lease", [Event(8, "renew", {"partition": 0, "worker": "a"})]),
        ("stranger", [Event(8, "stranger", {"id": "s-1", "ttl_s": 20})]),
        (
            "stranger",
            [
                Event(8, "stranger", {"id": "s-1", "ttl_s": 20}),
                *(
                    Event(8 + n, "result", RESULT | {"id": "s-1", "reason": "unknown_charger"})
                    for n in (1, 2)
                ),
            ],
        ),
        (
            "moved_too_much",
            [
                Event(8, "joined", {"worker": "c", "share": 2}),
                *(Event(9, "take", {"partition": n, "worker": "c"}) for n in range(3)),
            ],
        ),
        (
            "memory",
            [Event(8, "memory", {"worker": "b", "chargers": 1000, "partitions": 3, "mib": 85.0})],
        ),
        ("not_offline", [Event(8, "orphaned", ORPHANED)]),
        (
            "not_offline",
            [
                Event(8, "orphaned", ORPHANED),
                Event(33, "availability", {"charger": "y", "state": "offline"}),
            ],
        ),
        ("report_lost", [Event(8, "session", {"key": "EH000001-8"})]),
        ("report_twice", [Event(8, "report", {"key": "EH000001-7b"})]),
        ("value_lost", [Event(8, "push", {"charger": "x", "value": 0.1})]),
        (
            "not_back",
            [
                Event(8, "availability", {"charger": "y", "state": "offline"}),
                Event(8, "end", {}),
            ],
        ),
        ("stalled", [Event(8, "stalled", {"fault": "kill"})]),
        ("not_offline", [Event(8, "all_dead", {})]),
        (
            "not_storage",
            [Event(6.5, "outage", {}), Event(10, "command", ORDER), Event(60, "back", {})],
        ),
        (
            "not_well",
            [
                Event(8, "outage", {}),
                Event(20, "back", {}),
                Event(35, "command", ORDER),
                Event(36, "result", RESULT | {"id": "x-3", "reason": "storage"}),
            ],
        ),
        ("flapped", [Event(8, "bridge_state", {"state": "offline"})]),
        ("wrong_status", [Event(8, "wrong_status", {"worker": "a", "status": 1})]),
    ],
)
def test_what_is_wrong_is_named(kind, events):
    """Each promise has a name of its own."""
    assert kind in kinds(with_(*events))


def test_a_value_may_come_again():
    """A request belongs to the newest command with its value."""
    again = {"id": "x-9", "charger": "x", "amps": 7, "number": 9, "ttl_s": 20}
    more = [
        Event(8, "command", again),
        Event(8.1, "request", REQUEST | {"amps": 7}),
        Event(8.2, "result", RESULT | {"id": "x-9"}),
    ]

    assert kinds(with_(*more)) == set()


def test_what_the_broker_dropped_is_not_owed():
    """With every worker dead a command that expires at the broker has nobody to answer it."""
    more = [Event(8, "all_dead", {}), Event(8.1, "command", ORDER)]
    offline = Event(18, "bridge_state", {"state": "offline"})

    assert kinds(with_(*more, offline)) == set()
    again = Event(12, "availability", {"charger": "x", "state": "online"})
    assert kinds(with_(*more, offline, again)) == {"unanswered"}
