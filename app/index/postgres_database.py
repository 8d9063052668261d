"""The database of the index: its connections, its schema, and its failures as the index tells them."""

import threading
import time
from collections.abc import Callable
from math import ceil, inf
from typing import Any, NamedTuple, TypeVar

import psycopg
from pgvector.psycopg import register_vector
from psycopg import IsolationLevel, errors
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import ConnectionPool, PoolTimeout

from app.core.errors import IndexUnavailable, InvalidParams, TaskError
from app.index import deadline

Connection = psycopg.Connection[tuple[Any, ...]]
T = TypeVar("T")

# As the schema below notes it.
SCHEMA_VERSION = 2
MAX_CONNECTIONS = 8
# How many candidates a scan of an HNSW index keeps, if not more are wanted. Fewer are faster, and miss more.
EF_SEARCH = 100

_ATTEMPTS = 4
_LOCK_TIMEOUT = "30s"
_STATEMENT_SECONDS = 60
# An attempt to connect that fails after so long is not repeated for a while.
_SLOW_SECONDS = 0.5
_REST_SECONDS = 5.0
# Iterative scans, which keep a filtered search complete, came with it.
_PGVECTOR = (0, 8)
# Any number that no other program takes for the same purpose.
_SCHEMA_LOCK = 0x5347_494E_4445_5801

_SCHEMA = """
CREATE SCHEMA IF NOT EXISTS sightgraph;

CREATE TABLE sightgraph.schema_version (version integer NOT NULL);
INSERT INTO sightgraph.schema_version VALUES (2);

-- The items of collection N lie in items_N, their regions in regions_N_G, where G is its generation.
CREATE TABLE sightgraph.collections (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text COLLATE "C" NOT NULL UNIQUE,
    operation text NOT NULL,
    params json NOT NULL,
    declared_space text,
    space text,
    dimensions integer,
    created_at timestamptz NOT NULL DEFAULT now(),
    items bigint NOT NULL DEFAULT 0,
    vectors bigint NOT NULL DEFAULT 0,
    -- Together another value after every change, also in a collection made anew under the same name.
    incarnation uuid NOT NULL DEFAULT gen_random_uuid(),
    version bigint NOT NULL DEFAULT 0,
    generation bigint NOT NULL DEFAULT 0
);

-- Tables that no collection has any more, to be dropped.
CREATE TABLE sightgraph.leftovers (name text PRIMARY KEY);
"""

# What libpq says of it would repeat parts of it, of the password maybe.
_UNREADABLE = (
    "The URL of the index's database cannot be read; it must be of the form "
    "postgresql://user:password@host:port/name, with special characters percent-encoded."
)
# What the server says of itself when it goes away, and of a connection that is gone.
_LOST = (errors.AdminShutdown, errors.CrashShutdown, errors.CannotConnectNow, errors.ConnectionException)
# Another transaction was in the way, or a table went away with its collection; the next try finds out.
_PASSING = (errors.DeadlockDetected, errors.SerializationFailure, errors.UndefinedTable)


class _Unreachable(NamedTuple):
    """Why the database could not be reached, and until when that is believed."""

    until: float
    message: str


class Database:
    """A bounded pool of connections, opened at first use, to a database that has the schema of the index.

    Nothing of what is stored is remembered here, so that several servers may use one database.

    Args:
        url: `postgresql://user:password@host:port/name`, or anything else that libpq takes.
        timeout_seconds: for how long a connection is waited for.
    """

    def __init__(self, url: str, *, timeout_seconds: float) -> None:
        self._url = url
        self._timeout_seconds = timeout_seconds
        self._lock = threading.Lock()
        self._pool: ConnectionPool[Connection] | None = None
        self._closed = False
        # Whether the database is to be looked at before the pool is used: a connection of one's own fails at
        # once and says why, where the pool waits until its timeout.
        self._doubted = True
        # One at a time finds out whether it can be reached; after one that waited in vain the others do not
        # wait again for a while.
        self._trying = threading.Lock()
        self._unreachable: _Unreachable | None = None

    def read(self, work: Callable[[Connection], T], until: float | None = None) -> T:
        """What `work` finds in one transaction, in which it sees one state of the database.

        Raises:
            DeadlineExceeded: `until`, a time of `time.monotonic`, has passed.
        """
        return self._run(work, IsolationLevel.REPEATABLE_READ, read_only=True, until=until)

    def write(self, work: Callable[[Connection], T]) -> T:
        """What `work` gives in one transaction. It may be called again after a failure that left nothing."""
        return self._run(work, IsolationLevel.READ_COMMITTED, read_only=False)

    def close(self) -> None:
        with self._lock:
            pool, self._pool, self._closed = self._pool, None, True
        if pool is not None:
            pool.close()

    def _run(
        self,
        work: Callable[[Connection], T],
        isolation: IsolationLevel,
        *,
        read_only: bool,
        until: float | None = None,
    ) -> T:
        for left in reversed(range(_ATTEMPTS)):
            committing = False
            try:
                wait = min(self._timeout_seconds, _left(until))
                with self._opened().connection(wait) as connection:
                    connection.isolation_level = isolation
                    connection.read_only = read_only
                    with connection.transaction():
                        end_by(connection, until)
                        result = work(connection)
                        committing = True
                return result
            except psycopg.Error as error:
                if isinstance(error, errors.QueryCanceled | PoolTimeout):
                    deadline.check(until)
                self._doubted = self._doubted or _is_lost(error) or isinstance(error, errors.UndefinedTable)
                # Whether a commit that broke off was done is not known.
                again = isinstance(error, _PASSING) or (_is_lost(error) and not committing)
                if isinstance(error, PoolTimeout):
                    # Where the database cannot be reached, that is the reason.
                    self._doubted = True
                    self._prepare()
                if not (again and left):
                    raise _told(error, reading=read_only) from error
        raise AssertionError("the last attempt returns or raises")

    def _opened(self) -> ConnectionPool[Connection]:
        if self._doubted:
            self._prepare()
        with self._lock:
            if self._closed:
                raise IndexUnavailable("The index was closed.")
            doubted, self._doubted = self._doubted, False
            if self._pool is None:
                self._pool = ConnectionPool(
                    self._url,
                    connection_class=psycopg.Connection,
                    kwargs=self._parameters(),
                    configure=_configure,
                    min_size=0,
                    max_size=MAX_CONNECTIONS,
                    timeout=self._timeout_seconds,
                    reconnect_timeout=self._timeout_seconds,
                    num_workers=1,
                    open=True,
                )
            elif doubted:
                self._pool.check()
            return self._pool

    def _prepare(self) -> None:
        """Make sure of the database, where no other thread does so or just found that it cannot be reached.

        Raises:
            IndexUnavailable: the database cannot be reached, or cannot hold the index.
        """
        known = self._unreachable
        if known is not None and not self._trying.acquire(blocking=False):
            raise IndexUnavailable(known.message)
        if known is None:
            self._trying.acquire()
        try:
            known = self._unreachable
            if known is not None and time.monotonic() < known.until:
                raise IndexUnavailable(known.message)
            started = time.monotonic()
            try:
                self._make()
            except psycopg.Error as error:
                told = _told(error, reading=False)
                now = time.monotonic()
                # What fails at once may be tried at once.
                slow = isinstance(told, IndexUnavailable) and now - started >= _SLOW_SECONDS
                self._unreachable = _Unreachable(now + _REST_SECONDS, str(told)) if slow else None
                raise told from error
            self._unreachable = None
        finally:
            self._trying.release()

    def _make(self) -> None:
        """Make the schema where it is missing; several servers may try at once."""
        with psycopg.connect(self._url, **self._parameters()) as connection, connection.transaction():
            if not _is_made(connection):
                connection.execute(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
                connection.execute("SELECT pg_advisory_xact_lock(%s)", (_SCHEMA_LOCK,))
                if not _is_made(connection):
                    _make_extension(connection)
                    connection.execute(_SCHEMA)
            _check_versions(connection)

    def _parameters(self) -> dict[str, Any]:
        try:
            chosen = conninfo_to_dict(self._url)
        except psycopg.ProgrammingError:
            raise IndexUnavailable(_UNREADABLE) from None
        defaults = {
            "connect_timeout": max(2, round(self._timeout_seconds)),
            "application_name": "sightgraph",
            # A host that vanished is noticed within a minute.
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            "tcp_user_timeout": 30_000,
        }
        return {name: value for name, value in defaults.items() if name not in chosen} | {
            "autocommit": True,
            # The best plan depends on the values; and poolers that share connections between transactions
            # know no prepared statements.
            "prepare_threshold": None,
        }


def end_by(connection: Connection, until: float | None) -> None:
    """Let each statement that follows in this transaction end by a time of `time.monotonic`."""
    if until is not None:
        milliseconds = ceil(1000 * min(_left(until), _STATEMENT_SECONDS))
        connection.execute("SELECT set_config('statement_timeout', %s, true)", (str(milliseconds),))


def _left(until: float | None) -> float:
    """How many seconds are left."""
    deadline.check(until)
    return inf if until is None else until - time.monotonic()


def _configure(connection: Connection) -> None:
    connection.execute(
        """
        SELECT set_config('search_path', 'sightgraph, ' || quote_ident(nspname), false),
               set_config('lock_timeout', %s, false),
               set_config('statement_timeout', %s, false),
               -- Compiling costs more than these queries.
               set_config('jit', 'off', false),
               -- What is closest within a scan is sorted later; strict_order would leave out what comes late.
               set_config('hnsw.iterative_scan', 'relaxed_order', false),
               set_config('hnsw.ef_search', %s, false)
        FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace
        WHERE extname = 'vector'
        """,
        (_LOCK_TIMEOUT, f"{_STATEMENT_SECONDS}s", str(EF_SEARCH)),
    )
    register_vector(connection)


def _is_made(connection: Connection) -> bool:
    # to_regclass would remember, for as long as the transaction lasts, that there was none.
    found = connection.execute(
        "SELECT FROM pg_tables WHERE schemaname = 'sightgraph' AND tablename = 'schema_version'"
    )
    return found.fetchone() is not None


def _make_extension(connection: Connection) -> None:
    try:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    except errors.InsufficientPrivilege as error:
        raise IndexUnavailable(
            "The index's database lacks the extension pgvector, and its user may not create it. "
            "An administrator has to run `CREATE EXTENSION vector` in it."
        ) from error
    except (errors.FeatureNotSupported, errors.UndefinedFile) as error:
        raise IndexUnavailable(
            "The server of the index's database lacks the extension pgvector; it has to be installed there."
        ) from error


def _check_versions(connection: Connection) -> None:
    found = connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()
    if found is None:
        raise IndexUnavailable(
            "The index's database lacks the extension pgvector, which it once had. The index needs it back."
        )
    if tuple(int(part) for part in found[0].split(".")[:2]) < _PGVECTOR:
        raise IndexUnavailable(
            f"The index needs pgvector {'.'.join(map(str, _PGVECTOR))} or newer, and its database has "
            f"{found[0]}. Install it, and run `ALTER EXTENSION vector UPDATE`."
        )
    made = connection.execute("SELECT version FROM sightgraph.schema_version").fetchone()
    if made != (SCHEMA_VERSION,):
        raise IndexUnavailable(
            f"The index's database was laid out by another version of Sightgraph: its schema has the version "
            f"{made and made[0]}, this server needs {SCHEMA_VERSION}."
        )


def _is_lost(error: psycopg.Error) -> bool:
    # What the client library itself notices has no code.
    unnamed = isinstance(error, psycopg.OperationalError) and error.sqlstate is None
    return isinstance(error, _LOST) or (unnamed and not isinstance(error, PoolTimeout))


def _told(error: psycopg.Error, *, reading: bool) -> TaskError:
    """What the index says of a failure."""
    match error:
        case errors.LockNotAvailable():
            return IndexUnavailable(
                f"The collection has been held by another change for over {_LOCK_TIMEOUT}. Try again later."
            )
        case PoolTimeout():
            return IndexUnavailable(
                f"All {MAX_CONNECTIONS} connections to the index's database are busy. Try again later."
            )
        case errors.QueryCanceled():
            return IndexUnavailable(
                f"The index's database took over {_STATEMENT_SECONDS} s or was stopped. Try again later."
            )
        case psycopg.DataError():
            done = "look for" if reading else "store"
            return InvalidParams(f"The index's database cannot {done} this: {_reason(error)}.")
        case errors.UndefinedTable():
            return IndexUnavailable("The tables of the index are being changed. Try again later.")
        case _ if str(error).startswith("connection is bad") and "failed: " not in str(error):
            # It was not even tried.
            return IndexUnavailable(_UNREADABLE)
    return IndexUnavailable(f"The index's database cannot be used: {_reason(error)}.")


def _reason(error: psycopg.Error) -> str:
    """The gist of what the server said, or libpq, which puts addresses before it and hints behind."""
    said = error.diag.message_primary
    if said is None:
        first, *_ = str(error).strip().splitlines() or [type(error).__name__]
        said = first.rpartition(": ")[2]
    return said.strip().rstrip(".")
