"""From facts to plain words."""

from dataclasses import replace

import pytest

from bridge.cli.diagnosis import ClusterStatus, DiagnosticData, Severity, StoreFacts, findings

MIB = 1024 * 1024
STORE = StoreFacts(
    used_bytes=MIB, quota_bytes=64 * MIB, free_bytes=1000 * MIB, reports=9, owed=0, mode=0o600
)
WELL = DiagnosticData(
    "charger",
    broker="MQTT 5",
    retained={"state": "online", "cloud": "connected"},
    skew_s=0.4,
    store=STORE,
)
ALERT = '{"kind":"storage","message":"disk full","hint":"make room","since":"x"}'


def test_what_passed_is_listed():
    """Each check that passed is a line of its own; so is what was not looked at: none."""
    found = findings(WELL)

    assert {each.severity for each in found} == {Severity.GOOD}
    assert [each.what for each in found] == [
        "broker: MQTT 5",
        "the bridge is connected to this broker",
        "the bridge reports that the cloud is connected",
        "this machine's clock agrees with the cloud's within 15 s",
        "files with secrets are readable by their owner only",
        "the store holds 9 session reports, 2% of its quota",
        "no alert",
        "the configuration is valid",
    ]


def test_what_was_not_looked_at_did_not_pass():
    """Without broker, cloud and store no line claims anything about them."""
    errors = {"broker": "refused", "cloud": "no answer", "store": "damaged"}
    found = findings(DiagnosticData("charger", errors=errors))

    assert [each.what for each in found if each.severity is Severity.GOOD] == [
        "files with secrets are readable by their owner only",
        "the configuration is valid",
    ]
    assert [each.what for each in found if each.severity is Severity.BROKEN] == [
        "broker: refused", "cloud: no answer", "store: damaged",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "severity", "word"),
    [
        ({"errors": {"broker": "refused"}, "retained": {}}, Severity.BROKEN, "refused"),
        ({"retained": {}}, Severity.BROKEN, "no bridge has ever been seen"),
        ({"retained": {"state": "offline"}}, Severity.BROKEN, "not connected"),
        ({"retained": {"state": "online", "cloud": "blocked"}}, Severity.BROKEN, "blocked"),
        ({"retained": {"state": "online", "cloud": "degraded"}}, Severity.WORRYING, "degraded"),
        ({"skew_s": -90.0}, Severity.BROKEN, "90 s behind"),
        ({"skew_s": 90.0}, Severity.BROKEN, "90 s ahead"),
        ({"open_files": {"/x/tokens.json": 0o644}}, Severity.BROKEN, "0644"),
        ({"store": replace(STORE, used_bytes=60 * MIB)}, Severity.WORRYING, "94%"),
        ({"store": replace(STORE, free_bytes=MIB)}, Severity.WORRYING, "1 MiB left"),
        ({"store": replace(STORE, owed=3)}, Severity.WORRYING, "3 of 9"),
        ({"retained": {"state": "online", "alert/storage": ALERT}}, Severity.WORRYING, "disk full"),
        ({"retained": {"state": "online", "alert/x": "[]"}}, Severity.WORRYING, "cannot be read"),
        ({"warnings": ("mqtt.port: odd",)}, Severity.WORRYING, "mqtt.port: odd"),
        ({"problems": ("easee.password: gone",)}, Severity.BROKEN, "easee.password: gone"),
    ],
)
def test_each_trouble_is_one_finding(changes, severity, word):
    """Every kind of trouble is told in a sentence, as bad as it is."""
    found, *others = findings(replace(WELL, **changes))
    assert {each.severity for each in others} == {Severity.GOOD}
    assert found.severity is severity
    assert word in found.what


def test_the_worst_comes_first():
    """Who reads one line reads the one that matters."""
    found = findings(replace(WELL, warnings=("advice",), skew_s=100.0))
    assert [each.severity for each in found][:3] == [
        Severity.BROKEN, Severity.WORRYING, Severity.GOOD,
    ]  # fmt: skip


CLUSTER = ClusterStatus(("a", "b"), (), {"fsync": "on", "synchronous_standby_names": "standby"})


@pytest.mark.parametrize(
    ("changes", "broker", "severity", "word"),
    [
        ({"free": (3,)}, "MQTT 5", Severity.BROKEN, "no worker serves partition 03"),
        ({"members": ("a",)}, "MQTT 5", Severity.WORRYING, "1 worker lives"),
        ({"parameters": {}}, "MQTT 5", Severity.WORRYING, "no synchronous standby"),
        ({"parameters": {"fsync": "off"}}, "MQTT 5", Severity.BROKEN, "fsync off"),
        ({}, "MQTT 3.1.1 at x", Severity.WORRYING, "no Will Delay"),
        ({}, "MQTT 5 at x, 20 messages in flight", Severity.WORRYING, "20 messages in flight"),
    ],
)
def test_what_a_takeover_needs_is_looked_at(changes, broker, severity, word):
    """Each has its own line; a cluster where all is well has none."""
    assert not [each for each in findings(replace(WELL, cluster=CLUSTER)) if each.todo]
    found = findings(replace(WELL, broker=broker, cluster=replace(CLUSTER, **changes)))

    assert [each.severity for each in found if word in each.what and each.todo] == [severity]


@pytest.mark.parametrize(
    ("states", "free", "severity", "words"),
    [
        (("online", "online"), (), Severity.GOOD, "all 2 partitions are served"),
        (("online", "offline"), (), Severity.BROKEN, "partition 01 has an owner, which is not"),
        (("online",), (), Severity.BROKEN, "partition 01 has an owner, which is not"),
        (("online", "offline"), (1,), Severity.BROKEN, "no worker serves partition 01"),
    ],
)
def test_of_several_partitions_each_is_looked_at(states, free, severity, words):
    """At the broker and in the table of leases; once each."""
    retained = {f"partition/{n:02}/state": state for n, state in enumerate(states)}
    found = findings(
        replace(
            WELL,
            retained={**WELL.retained, **retained},
            broker="MQTT 5",
            cluster=replace(CLUSTER, partitions=2, free=free),
        )
    )
    of_partitions = [each for each in found if "partition" in each.what]

    assert [each.severity for each in of_partitions] == [severity]
    assert words in of_partitions[0].what
