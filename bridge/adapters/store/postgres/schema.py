"""Tables and their migrations.

Rules:

1. Steps are added to :data:`MIGRATIONS`, never changed. All steps that are missing are one
   transaction, under a lock: whichever worker comes first migrates for all.
2. A migration leaves the schema readable and writable by the version before it: it adds tables,
   columns with defaults, indices and functions under new names. What the version before does not
   need any more goes one version later. So workers are upgraded one after the other.
3. A row carries the same hash as in SQLite; see :mod:`bridge.adapters.store.row_format`.
4. Texts are compared by their bytes, so times sort as they do in SQLite.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from bridge.adapters.store.postgres.connection import SCHEMA, Connection
from bridge.errors import StoreError

# "CBRD", the first number of our advisory locks; the second is one of these or a hash.
LOCK_CLASS: Final = 0x43425244
_MIGRATION_LOCK: Final = 1


@dataclass(frozen=True, slots=True)
class Migration:
    """A version of the schema.

    Attributes:
        steps: Statements that lead to it from the version before.
        oldest: The oldest version of the program that can use it.
    """

    steps: tuple[str, ...]
    oldest: int


_TEXT: Final = 'text COLLATE "C"'

MIGRATIONS: Final[tuple[Migration, ...]] = (
    Migration(
        (
            "CREATE TABLE installation (name text PRIMARY KEY, value bytea NOT NULL)",
            # A change of a column in a unique index is a change of a key: see fence.py.
            """
            CREATE TABLE lease (
                partition integer PRIMARY KEY,
                epoch bigint NOT NULL DEFAULT 0,
                owner text,
                until timestamptz NOT NULL,
                UNIQUE (partition, epoch)
            ) WITH (fillfactor = 50)
            """,
            """
            CREATE TABLE member (
                name text PRIMARY KEY,
                version text NOT NULL,
                seen_at timestamptz NOT NULL,
                broker_up boolean NOT NULL,
                cloud_up boolean NOT NULL,
                draining boolean NOT NULL
            ) WITH (fillfactor = 50)
            """,
            f"CREATE TABLE site (name {_TEXT} PRIMARY KEY, partition integer NOT NULL)",
            """
            CREATE TABLE document (
                partition integer NOT NULL,
                name text NOT NULL,
                content bytea NOT NULL,
                PRIMARY KEY (partition, name)
            )
            """,
            """
            CREATE TABLE flag (
                partition integer NOT NULL, name text NOT NULL, PRIMARY KEY (partition, name)
            )
            """,
            f"""
            CREATE TABLE report (
                partition integer NOT NULL,
                number bigint GENERATED ALWAYS AS IDENTITY,
                key {_TEXT} NOT NULL,
                revision bigint NOT NULL,
                charger_id {_TEXT} NOT NULL,
                session_id bigint,
                started_at {_TEXT} NOT NULL,
                ended_at {_TEXT} NOT NULL,
                energy_kwh double precision NOT NULL,
                meter_start_kwh double precision,
                meter_stop_kwh double precision,
                auth_reason bigint,
                auth {_TEXT} NOT NULL,
                source {_TEXT} NOT NULL,
                measured_at {_TEXT} NOT NULL,
                received_at {_TEXT} NOT NULL,
                published integer NOT NULL,
                digest bytea NOT NULL,
                settled integer NOT NULL,
                published_at {_TEXT},
                incomplete {_TEXT} NOT NULL,
                doubtful {_TEXT} NOT NULL,
                placed_at {_TEXT},
                ranked_at {_TEXT},
                PRIMARY KEY (partition, key)
            )
            """,
            "CREATE INDEX report_session ON report (partition, charger_id, session_id)",
            "CREATE INDEX report_owed ON report (partition, number) WHERE settled <> 1",
            "CREATE INDEX report_at ON report ((coalesce(placed_at, ended_at)), key)",
            f"""
            CREATE TABLE command (
                partition integer NOT NULL,
                key {_TEXT} NOT NULL,
                charger_id {_TEXT} NOT NULL,
                command {_TEXT} NOT NULL,
                name {_TEXT} NOT NULL,
                content {_TEXT} NOT NULL,
                state {_TEXT} NOT NULL,
                received_at {_TEXT} NOT NULL,
                expires_at {_TEXT} NOT NULL,
                body bytea NOT NULL,
                answer bytea NOT NULL,
                flash integer NOT NULL,
                digest bytea NOT NULL,
                PRIMARY KEY (partition, key)
            ) WITH (fillfactor = 70)
            """,
            f"""
            CREATE TABLE unread (
                partition integer NOT NULL,
                number bigint GENERATED ALWAYS AS IDENTITY,
                key {_TEXT} NOT NULL,
                charger_id {_TEXT} NOT NULL,
                text {_TEXT} NOT NULL,
                reason {_TEXT} NOT NULL,
                source {_TEXT} NOT NULL,
                measured_at {_TEXT} NOT NULL,
                received_at {_TEXT} NOT NULL,
                session_id bigint,
                started_at {_TEXT},
                ended_at {_TEXT},
                digest bytea NOT NULL,
                PRIMARY KEY (partition, key)
            )
            """,
            """
            CREATE TABLE account (
                name text PRIMARY KEY,
                access_token text,
                refresh_token text,
                expires_at timestamptz,
                silent_until timestamptz
            )
            """,
            # Locked while tokens are renewed; what is renewed is in the row above.
            """
            CREATE TABLE renewal (
                account text PRIMARY KEY,
                refused_until timestamptz,
                refused_state text,
                refused_text text,
                refused_status integer,
                credentials_wrong boolean NOT NULL DEFAULT false
            )
            """,
            """
            CREATE TABLE request (
                account text NOT NULL,
                endpoint text NOT NULL,
                scope text NOT NULL,
                at timestamptz NOT NULL
            )
            """,
            "CREATE INDEX request_account ON request (account, at)",
            "CREATE INDEX request_group ON request (account, endpoint, scope, at)",
            """
            CREATE TABLE cooldown (
                account text NOT NULL,
                endpoint text NOT NULL,
                scope text NOT NULL,
                until timestamptz NOT NULL,
                times integer NOT NULL,
                PRIMARY KEY (account, endpoint, scope)
            )
            """,
            # One round trip, and no transaction that a client could leave open. Each statement
            # sees what was committed before the lock was granted.
            f"""
            CREATE FUNCTION reserve_request(
                for_account text, of_endpoint text, of_scope text,
                most integer, within double precision,
                most_of_all integer, all_within double precision,
                trial double precision, keep double precision
            ) RETURNS TABLE (wait_s double precision, is_trial boolean)
            LANGUAGE plpgsql AS $$
            DECLARE
                at_now timestamptz;
                due timestamptz;
            BEGIN
                PERFORM pg_advisory_xact_lock({LOCK_CLASS}, hashtext(for_account));
                at_now := clock_timestamp();
                SELECT max(each.due) INTO due FROM (
                    SELECT silent_until AS due FROM account WHERE name = for_account
                    UNION ALL
                    SELECT until FROM cooldown
                    WHERE account = for_account AND endpoint = of_endpoint AND scope = of_scope
                    UNION ALL
                    (SELECT at + make_interval(secs => within) FROM request
                     WHERE account = for_account AND endpoint = of_endpoint AND scope = of_scope
                     ORDER BY at DESC OFFSET most - 1 LIMIT 1)
                    UNION ALL
                    (SELECT at + make_interval(secs => all_within) FROM request
                     WHERE account = for_account ORDER BY at DESC OFFSET most_of_all - 1 LIMIT 1)
                ) AS each;
                IF due > at_now THEN
                    RETURN QUERY SELECT extract(epoch FROM due - at_now)::double precision, false;
                    RETURN;
                END IF;
                INSERT INTO request VALUES (for_account, of_endpoint, of_scope, at_now);
                DELETE FROM request
                WHERE account = for_account AND at < at_now - make_interval(secs => keep);
                UPDATE cooldown SET until = at_now + make_interval(secs => trial)
                WHERE account = for_account AND endpoint = of_endpoint AND scope = of_scope;
                RETURN QUERY SELECT 0.0::double precision, FOUND;
            END
            $$
            """,
        ),
        oldest=1,
    ),
    Migration(
        ("ALTER TABLE member ADD COLUMN leave_asked boolean NOT NULL DEFAULT false",),
        oldest=1,
    ),
    Migration(
        (
            f"CREATE TABLE device (name {_TEXT} PRIMARY KEY, site {_TEXT} NOT NULL)",
            """
            CREATE TABLE listing (
                name text PRIMARY KEY,
                asked_at timestamptz NOT NULL,
                content bytea,
                read_at timestamptz
            )
            """,
        ),
        oldest=1,
    ),
)


async def migrate(db: Connection, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Create what is missing, or say why the schema cannot be used.

    Raises:
        StoreError: It needs a newer program, or cannot be created.
    """
    async with db.in_turn() as connection, connection.transaction():
        await connection.execute(
            f"SELECT pg_advisory_xact_lock({LOCK_CLASS}, {_MIGRATION_LOCK});"
            f"CREATE SCHEMA IF NOT EXISTS {SCHEMA};"
            f"CREATE TABLE IF NOT EXISTS {SCHEMA}.version"
            " (version integer NOT NULL, oldest integer NOT NULL)"
        )
        found = await connection.fetchrow("SELECT version, oldest FROM version")
        version, oldest = found or (0, 0)
        if oldest > len(migrations):
            raise StoreError(
                f"the database is of version {version}, which needs a newer program",
                hint="upgrade this worker",
            )
        missing = migrations[version:]
        if missing:
            await connection.execute(";".join(_statements(missing, len(migrations))))


def _statements(missing: Iterable[Migration], version: int) -> Iterable[str]:
    oldest = 0
    for migration in missing:
        yield from migration.steps
        oldest = migration.oldest
    yield "DELETE FROM version"
    yield f"INSERT INTO version VALUES ({version}, {oldest})"
