"""From facts to plain words."""

from dataclasses import replace

import pytest

from bridge.cli.diagnosis import DiagnosticData, Severity, StoreFacts, findings

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


def test_a_bridge_that_is_well_is_said_to_be():
    """Nothing wrong is one good finding, not silence."""
    assert [each.severity for each in findings(WELL)] == [Severity.GOOD]


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
    ],
)
def test_each_trouble_is_one_finding(changes, severity, word):
    """Every kind of trouble is told in a sentence, as bad as it is."""
    (found,) = findings(replace(WELL, **changes))
    assert found.severity is severity
    assert word in found.what


def test_the_worst_comes_first():
    """Who reads one line reads the one that matters."""
    found = findings(replace(WELL, warnings=("advice",), skew_s=100.0))
    assert [each.severity for each in found] == [Severity.BROKEN, Severity.WORRYING]
