"""Real workers, a real database and a real broker go through faults; and mistakes are found.

``make soak-cluster`` is the long form.
"""

import asyncio
import json
import os

import pytest

from tests import canaries
from tests.acceptance.test_reports import held_in, of_others
from tests.canaries import OTHERS, STORE_PASSWORD
from tests.mosquitto import EXECUTABLE
from tests.postgres import program
from tests.workers.history import findings, takeovers
from tests.workers.runs import played
from tests.workers.site import WITHIN_S, installed

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.broker,
    pytest.mark.skipif(
        program("initdb") is None and not os.environ.get("CI"), reason="PostgreSQL is missing"
    ),
    pytest.mark.skipif(not EXECUTABLE and not os.environ.get("CI"), reason="mosquitto is missing"),
]

# Whether a mistake shows depends on what is under way at that moment.
ATTEMPTS = 6
NAMED = {"written_without_lease", "sent_without_lease", "renewed_without_lease"}


async def test_takeovers_cost_no_command_and_no_session(tmp_path):
    """SIGKILL, SIGTERM and SIGSTOP of the owner: one result for each command, and one report."""
    history = await played(tmp_path, ["kill", "term", "stop"], chargers=12, session_every_s=1.0)

    assert findings(history) == []
    assert [fault for fault, _ in takeovers(history)] == ["kill", "term", "stop"]


async def test_partitions_are_divided_among_workers_and_taken_over(tmp_path):
    """Four of them by two workers, one of which dies: its partitions go on, and no other moves."""
    history = await played(
        tmp_path, ["kill"], chargers=24, partitions=4, every_s=0.15, session_every_s=1.0
    )

    assert findings(history) == []
    assert [fault for fault, _ in takeovers(history)] == ["kill"]
    assert {event.fields["partition"] for event in history if event.kind == "request"} == {
        0, 1, 2, 3,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("mistake", "fault", "every_s", "kind"),
    [
        ("no_fence", "stop", 0.15, "written_without_lease"),
        # Rarely enough for its commands, which take seconds, not to wait for one another.
        ("believed_too_long", "nodb", 1.0, "sent_without_lease"),
        ("no_epoch", "stop", 0.15, "renewed_without_lease"),
    ],
)
async def test_a_mistake_is_found_for_what_it_is(tmp_path, mistake, fault, every_s, kind):
    """A rule that is left out shows in what the vendor or the database saw."""
    found: set[str] = set()
    for attempt in range(ATTEMPTS):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        history = await played(
            folder, [fault], chargers=8, mistake=mistake, ttl_s=3, every_s=every_s
        )
        found = {each.kind for each in findings(history)} & NAMED
        if kind in found:
            break

    assert found == {kind} or (mistake == "no_fence" and kind in found)


async def test_an_operator_sees_the_workers_and_drains_one(tmp_path):
    """``cluster status`` names the owner; behind ``cluster drain`` the other one serves."""
    async with installed(tmp_path, chargers=2) as site:
        for name in ("a", "b"):
            await site.start(name)
            await site.member(name)
        owner = await site.owner()
        other = next(name for name in site.workers if name != owner)
        document = json.loads(await site.tool(other, "cluster", "status", "--json"))
        table = await site.tool(other, "cluster", "status")
        drained = await site.tool(other, "cluster", "drain", "--worker", owner)

        assert [each["owner"] for each in document["partitions"]] == [owner]
        assert {each["worker"] for each in document["members"]} == {"a", "b"}
        assert "standing by" in table
        assert drained.splitlines()[0] == f"{owner} handed over and ended"
        assert await site.ended(owner) == 0
        assert await site.owner() == other


async def test_an_operator_reports_and_explains_a_worker_of_several_partitions(
    tmp_path, monkeypatch
):
    """A record of each gateway, without names of workers; the partition that serves answers."""
    monkeypatch.setenv("CHARGER_BRIDGE_STORE__PASSWORD", STORE_PASSWORD)
    name, bundle = OTHERS["a worker"], tmp_path / "bundle.zip"
    async with installed(tmp_path, chargers=4, partitions=2) as site:
        await site.start(name)
        await site.served()
        partition = (await site.divided())["EH000002"]
        site.push_value("EH000002")
        topic, explained = "charger/EH000002/state/total_power", ""
        async with asyncio.timeout(WITHIN_S):
            while "published 0.01 on" not in explained:
                explained = await site.tool(name, "explain", topic)
        of_all = await site.tool(name, "explain", "charger/bridge/cloud")
        of_one = await site.tool(name, "explain", f"charger/bridge/partition/{partition:02}/cloud")
        elsewhere = await site.tool(name, "explain", "charger/EH999999/availability")
        said = await site.tool(name, "doctor", "--output", str(bundle), may_find=True)
        metrics = site.workers[name].log.read_bytes()
    held = held_in(bundle)
    records = [one.name for one in (tmp_path / name).glob("record-*.rec")]

    assert f"published 0.01 on {topic}, because observation 120 measured at " in explained
    assert "now: " in explained
    assert "it is the state of all partitions together" in of_all
    assert "the stream is open" in of_one
    assert elsewhere.startswith("no partition of this worker has to do with ")
    assert sorted(one.partition("Z")[2] for one in records) == ["-all.rec", "-p00.rec", "-p01.rec"]
    assert set(records) <= held.keys()
    assert {file: found for file, text in held.items() if (found := of_others(text))} == {}
    assert canaries.found_in(said.encode() + metrics) == []
