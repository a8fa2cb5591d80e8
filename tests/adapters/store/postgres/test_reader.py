"""The command line reads a store in PostgreSQL, all partitions of it."""

import asyncio
import json
import os
from dataclasses import replace

import pytest

from bridge.adapters.store.postgres import command_rows, report_rows, text_rows
from bridge.adapters.store.postgres.reader import PostgresReader
from bridge.cli.main import main
from bridge.core.records.lease import Lease
from bridge.core.records.stored_report import StoredReport
from bridge.core.records.unread_text import UnreadText
from bridge.errors import StoreError
from tests.adapters.store.rows import NOON, REPORT, command, numbered

pytestmark = pytest.mark.anyio


async def test_all_partitions_are_read_as_one(database, lease, server, monkeypatch):
    """Reports by when they ended, with small pages too; texts and decisions as well."""
    monkeypatch.setattr(report_rows, "MAX_BATCH", 2)
    await database.execute("INSERT INTO lease VALUES (1, 1, 'one', 'infinity')")
    other = Lease(1, 1, 0.0)
    for number in range(5):
        row = StoredReport(f"EH123456-{number}", 1, numbered(number))
        await report_rows.put(database, other if number % 2 else lease, [row])
    await command_rows.put(database, other, [command(1)])
    text = UnreadText("EH123456", "x", "no JSON", "stream", NOON, NOON)
    await text_rows.put(database, lease, text)
    reader = PostgresReader(server.settings)

    assert [row.report.session_id for row in reader.reports()] == [0, 1, 2, 3, 4]
    assert reader.texts() == (text,)
    assert [row[1:] for row in reader.decisions(9)] == [("EH123456", "start", "waiting")]
    assert reader.space().used_bytes > 0
    assert (reader.files(), reader.obstacle(), reader.tag_hash_key()) == ((), None, None)


async def test_a_reading_that_is_broken_off_leaves_no_connection(database, lease, server):
    """A pipe may close before the last session."""
    rows = [StoredReport(f"EH123456-{n}", 1, numbered(n)) for n in range(9)]
    await report_rows.put(database, lease, rows)
    query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'charger-bridge'"
    before = server.sql(query)[0][0]
    found = PostgresReader(server.settings).reports()
    assert next(found) == rows[0]
    found.close()

    async with asyncio.timeout(30):
        while server.sql(query)[0][0] > before:  # noqa: ASYNC110 - asks another process
            await asyncio.sleep(0.01)


def test_a_store_that_is_not_there_is_an_error(server):
    """No schema yet, or no server."""
    with pytest.raises(StoreError, match="no store") as caught:
        PostgresReader(server.settings).require()
    assert caught.value.hint
    away = replace(server.settings, url="postgresql://bridge@127.0.0.1:1/postgres")
    with pytest.raises(StoreError):
        PostgresReader(away).space()
    assert PostgresReader(away).tag_hash_key() is None


async def test_the_command_line_lists_and_exports_what_workers_have_stored(
    database, lease, server, tmp_path, capsys
):
    """A replay is asked of a running worker, and how is said."""
    await report_rows.put(database, lease, [StoredReport("EH123456-435", 1, REPORT)])
    config = tmp_path / "config.yaml"
    (tmp_path / "password").write_text("canary")
    (tmp_path / "password").chmod(0o600)
    config.write_text(
        "easee: {username: someone@example.com, password_file: password}\n"
        f"store: {{url: '{server.settings.url}', password_file: password}}\n"
    )

    def run(*words):
        return main([*words, "--config", str(config)])

    assert await asyncio.to_thread(run, "sessions", "list") == 0
    assert "EH123456-435" in capsys.readouterr().out
    assert await asyncio.to_thread(run, "sessions", "export", "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)[0]["energy_kwh"] == REPORT.energy_kwh
    assert await asyncio.to_thread(run, "sessions", "replay") == os.EX_TEMPFAIL
    assert "charger/bridge/session/replay" in capsys.readouterr().err
    assert await asyncio.to_thread(run, "check") == 0
