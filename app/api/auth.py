"""API keys: what a request shows, whose it is, and what it may do."""

import hmac
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from cachetools import LRUCache
from litestar.exceptions import ClientException, NotAuthorizedException, PermissionDeniedException

from app.api.rate_limits import MovingWindow
from app.core.access import SCOPES, ApiKey, Limit, Scope, digest_of

# Wrong keys of one address.
_FAILURES = Limit(30, 60)
_MAX_KNOWN = 10_000
_CHALLENGE = 'Bearer realm="sightgraph"'
_HOW = "send it as 'Authorization: Bearer KEY' or as 'X-API-Key: KEY'"

_granted: ContextVar[frozenset[Scope]] = ContextVar("granted", default=frozenset(SCOPES))


def permits(scope: Scope) -> bool:
    """Whether who asks now may do what a scope stands for. Without keys, and outside of a request, all is."""
    return scope in _granted.get()


@contextmanager
def granting(scopes: frozenset[Scope]) -> Iterator[None]:
    token = _granted.set(scopes)
    try:
        yield
    finally:
        _granted.reset(token)


class Authentication:
    """Finds whose key a request shows."""

    def __init__(self, keys: Sequence[ApiKey], failures: MovingWindow | None = None) -> None:
        self._keys = tuple(keys)
        self._failures = failures or MovingWindow(_FAILURES)
        # Who shares an address with someone that guesses keys is not shut out.
        self._known: LRUCache[tuple[str, str], None] = LRUCache(_MAX_KNOWN)

    def caller(self, headers: Iterable[tuple[bytes, bytes]], needed: Scope, address: str) -> ApiKey:
        """The key of a request, which has the scope that it needs.

        Raises:
            ClientException: two different keys are shown.
            NotAuthorizedException: none is shown, or a wrong one.
            PermissionDeniedException: it lacks the scope.
            TooManyRequestsException: too many wrong ones came from the address.
        """
        shown = shown_key(headers)
        if shown is None:
            raise NotAuthorizedException(
                f"This needs an API key: {_HOW}.", headers={"WWW-Authenticate": _CHALLENGE}
            )
        key = self._holder(shown)
        guessed = self._failures.left(address)
        # Beyond the limit a right key is no longer told from a wrong one.
        if guessed.remaining < 1 and (key is None or (address, key.name) not in self._known):
            raise guessed.refusal("Too many wrong API keys came from this address")
        if key is None:
            self._failures.take(address)
            raise NotAuthorizedException(
                f"The API key is not one of this server's; {_HOW}.",
                headers={"WWW-Authenticate": f'{_CHALLENGE}, error="invalid_token"'},
            )
        self._known[address, key.name] = None
        if needed not in key.scopes:
            raise PermissionDeniedException(
                f"This needs an API key with the scope '{needed}'; "
                f"the key '{key.name}' has {', '.join(sorted(key.scopes))}.",
                headers={"WWW-Authenticate": f'{_CHALLENGE}, error="insufficient_scope", scope="{needed}"'},
            )
        return key

    def _holder(self, shown: bytes) -> ApiKey | None:
        digest = digest_of(shown)
        found = None
        # All are compared, each in constant time: how long it takes tells nothing.
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found


def shown_key(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """The one key that a request shows. An address is no place for a key: it is written into logs.

    Raises:
        ClientException: it shows two.
    """
    shown = set()
    for name, value in headers:
        if name == b"x-api-key":
            shown.add(value.strip())
        elif name == b"authorization":
            scheme, _, token = value.strip().partition(b" ")
            # Another scheme may be meant for a proxy.
            if scheme.lower() == b"bearer":
                shown.add(token.strip())
    shown.discard(b"")
    if len(shown) > 1:
        raise ClientException("Authorization and X-API-Key: two different API keys were sent; send one")
    return shown.pop() if shown else None
