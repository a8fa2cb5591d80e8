"""The audit never calls clean what it could not look up, and every lock file is in it."""

import json
from pathlib import Path

import pytest

from tools import audit

KNOWN = {"name": "httpx", "version": "0.28.1", "vulns": []}
BAD = {"name": "h11", "version": "0.1", "vulns": [{"id": "PYSEC-1", "fix_versions": ["0.16"]}]}
SKIPPED = {"name": "paho-mqtt", "skip_reason": "Dependency not found on PyPI"}


def report(*packages: dict) -> audit.Found | None:
    """Read a report as pip-audit writes it."""
    return audit.read(json.dumps({"dependencies": packages, "fixes": []}))


@pytest.mark.parametrize(
    ("found", "status", "word"),
    [
        (report(KNOWN), 0, "1 packages looked up"),
        (report(KNOWN, BAD), 1, "VULNERABLE: h11 0.1: PYSEC-1 (fixed in 0.16)"),
        (report(KNOWN, SKIPPED), 75, "NOT AUDITED, not known there: paho-mqtt"),
        (report(SKIPPED), 75, "NOT AUDITED: the advisory service knew none of 1"),
        (report(SKIPPED, BAD), 1, "VULNERABLE"),
        (report(), 75, None),
        (audit.read(""), 75, "could not be asked"),
        (audit.read("[]"), 75, "could not be asked"),
    ],
)
def test_only_what_was_looked_up_is_clean(found, status, word):
    """Nobody reached, nothing known, something known: three statuses, in words too."""
    assert audit.status([found]) == status
    assert word is None or word in "\n".join(audit.told("run.txt", found))


def test_one_lock_file_that_could_not_be_asked_for_is_not_hidden_by_others():
    """The worst counts, and known holes count most."""
    assert audit.status([report(KNOWN), None]) == 75
    assert audit.status([None, report(BAD)]) == 1


def test_every_lock_file_is_audited():
    """A new one has to be added to the tool."""
    folder = Path(__file__).parents[2] / "requirements"

    assert sorted(audit.LOCKS) == sorted(path.name for path in folder.glob("*.txt"))
