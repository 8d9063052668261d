"""Who may ask for what, and how often: API keys, of which a server knows the digests only, and limits."""

import hashlib
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, cast, get_args

Scope = Literal["analyze", "index", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

# Where a client finds the key that it shows to a server.
API_KEY_VARIABLE = "SIGHTGRAPH_API_KEY"

# Makes a key that leaked into a file recognisable, to people and to scanners.
_PREFIX = "sightgraph_"
_RANDOM_BYTES = 32
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}
_LIMIT = re.compile(rf"([1-9][0-9]{{0,8}}) ?/ ?({'|'.join(_SECONDS)})")
_FORM = "name:scopes:sha256, such as `sightgraph keys new` prints"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as the server knows it. Its text is `name:scopes:sha256`, the scopes joined by `+`.

    Raises:
        ValueError: a part does not fit. The message repeats no digest, since it may be the key itself.
    """

    name: str
    scopes: frozenset[Scope]
    digest: str

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError("the name of a key has 1 to 64 letters, digits, dots, dashes or underscores")
        if not self.scopes or not self.scopes <= set(SCOPES):
            raise ValueError(f"the key '{self.name}' needs scopes of {', '.join(SCOPES)}, joined by '+'")
        if not _DIGEST.fullmatch(self.digest):
            raise ValueError(
                f"the key '{self.name}' needs its SHA-256 of 64 hex digits, not the key itself; "
                f"the form is {_FORM}"
            )

    def __str__(self) -> str:
        return f"{self.name}:{'+'.join(sorted(self.scopes))}:{self.digest}"


@dataclass(frozen=True, slots=True)
class Limit:
    """At most so many requests of a client in any so many seconds."""

    amount: int
    seconds: int

    @classmethod
    def of(cls, text: str) -> "Limit":
        """A limit as people write it: `120/minute`.

        Raises:
            ValueError: it is of another form.
        """
        found = _LIMIT.fullmatch(text.strip())
        if found is None:
            raise ValueError(f"must be a number and one of {', '.join(_SECONDS)}, such as 120/minute")
        return cls(int(found[1]), _SECONDS[found[2]])


def made_key(name: str, scopes: Iterable[Scope]) -> tuple[str, ApiKey]:
    """A new random key, and what the server is told of it."""
    key = _PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
    return key, ApiKey(name, frozenset(scopes), digest_of(key.encode()))


def digest_of(key: bytes) -> str:
    """A fast digest does: a key of 256 random bits cannot be guessed from it."""
    return hashlib.sha256(key).hexdigest()


def parsed_keys(text: str) -> tuple[ApiKey, ...]:
    """Keys separated by commas or white space.

    Raises:
        ValueError: one is not of the form, or two have one name or are one key.
    """
    keys = tuple(map(_parsed, re.split(r"[,\s]+", text.strip(", \t\r\n")))) if text.strip(", \t\r\n") else ()
    names = [key.name for key in keys]
    if doubled := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"two keys are named '{doubled}'")
    digests = {key.digest: key.name for key in keys}
    if same := next((key.name for key in keys if digests[key.digest] != key.name), None):
        raise ValueError(f"'{same}' and another name stand for the same key")
    return keys


def _parsed(entry: str) -> ApiKey:
    parts = entry.split(":")
    if len(parts) != 3:
        raise ValueError(f"an entry is not of the form {_FORM}")
    name, scopes, digest = parts
    # What the scopes really are is checked by the key.
    return ApiKey(name, cast("frozenset[Scope]", frozenset(scopes.split("+"))), digest.lower())
