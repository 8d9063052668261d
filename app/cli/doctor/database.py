"""The database of the index, where one is set: looked at and not changed; the server makes its tables."""

from app.cli.doctor.finding import Findings, ok, problem

_SECONDS = 5
_SECRET = ("password", "sslpassword")


def database(url: str) -> Findings:
    import psycopg

    if not _is_readable(url):
        yield problem(
            "index",
            "The address in SIGHTGRAPH_INDEX_URL cannot be read.",
            "Write it as postgresql://user:password@host:port/name, and what is special in the user and the "
            "password with percent signs: %40 for @, %2F for /, %25 for %.",
        )
        return
    try:
        with psycopg.connect(url, connect_timeout=_SECONDS) as connection:
            found = connection.execute(
                "select installed_version from pg_available_extensions where name = 'vector'"
            ).fetchone()
    except psycopg.Error as error:
        first = str(error).strip().partition("\n")[0]
        yield problem(
            "index",
            f"The database of SIGHTGRAPH_INDEX_URL cannot be used: {_without_secrets(first, url)}",
            "See whether it runs, is reached from here, and knows this user and password.",
        )
        return
    if found is None:
        yield problem(
            "index",
            "The database of SIGHTGRAPH_INDEX_URL has no pgvector.",
            "Install the extension `vector` on the database server.",
        )
    else:
        installed = f"pgvector {found[0]}" if found[0] else "pgvector ready to be created"
        yield ok("index", f"PostgreSQL answers, {installed}.")


def _is_readable(url: str) -> bool:
    """Whether it is certain which part is the password. Else a piece of it would be taken for a host, which
    name servers are asked for and messages tell."""
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict

    try:
        host = conninfo_to_dict(url).get("host") or ""
    except (ProgrammingError, UnicodeError):
        return False
    path = url.partition("://")[2].partition("/")[2].partition("?")[0]
    return "@" not in f"{host}{path}"


def _without_secrets(message: str, url: str) -> str:
    from psycopg.conninfo import conninfo_to_dict

    chosen = conninfo_to_dict(url)
    for secret in (chosen.get(name) for name in _SECRET):
        if secret:
            message = message.replace(str(secret), "***")
    return message
