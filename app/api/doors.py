"""The doors of the server: who comes in, how often, from which pages; and what every answer tells a browser.

Every route declares by `opt` which scope a key needs for it: `{"scope": "analyze"}`, or `{"scope": OPEN}` for
what needs none. One that declares nothing stops the start.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from litestar import Litestar
from litestar.config.cors import CORSConfig
from litestar.datastructures import Headers, MutableScopeHeaders
from litestar.exceptions import ImproperlyConfiguredException
from litestar.handlers import BaseRouteHandler
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from app.api.auth import Authentication, granting
from app.api.exchange import note_api_key
from app.api.rate_limits import Account, MovingWindow, client_address, counting
from app.api.sites import check_name, check_site
from app.core.access import SCOPES, ApiKey, Limit

OPEN = "open"
# For what machines ask again and again: open, and without a rate limit.
PROBE = {"scope": OPEN, "rate_limit": False}

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    # Of requests with CORS the browser asks no more than their own headers.
    "Cross-Origin-Resource-Policy": "same-origin",
    # Answers speak of somebody's images.
    "Cache-Control": "no-store",
}
_READABLE_BY_PAGES = ["RateLimit", "RateLimit-Policy", "Retry-After", "WWW-Authenticate", "X-Request-ID"]


@dataclass(frozen=True)
class Doors:
    """What the doors are told."""

    keys: tuple[ApiKey, ...] = ()
    """Who may come in; without keys, everybody."""
    rate_limit: Limit | None = None
    """For each key, or without keys for each address."""
    cors_origins: tuple[str, ...] = ()
    """The origins whose pages may use the server; `*` is every one."""
    names: tuple[str, ...] | None = None
    """The names by which the server is asked, beside localhost; None is any."""

    @cached_property
    def cors(self) -> CORSConfig | None:
        """Without credentials: a page shows its key itself, the browser adds nothing."""
        if not self.cors_origins:
            return None
        return CORSConfig(allow_origins=list(self.cors_origins), expose_headers=_READABLE_BY_PAGES)


UNGUARDED = Doors()


class DoorsMiddleware(ASGIMiddleware):
    """Lets a request in, or refuses it before its body is read."""

    def __init__(self, doors: Doors) -> None:
        self._doors = doors
        self._authentication = Authentication(doors.keys) if doors.keys else None
        self._window = None if doors.rate_limit is None else MovingWindow(doors.rate_limit)

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        opt = declared(scope["route_handler"], str(scope.get("method")))
        headers, address = Headers.from_scope(scope), client_address(scope)
        if self._doors.names is not None:
            check_name(headers.get("host"), self._doors.names)
        if self._authentication is None:
            # Without keys, what a browser sends for a page looks like what its user sends.
            check_site(str(scope.get("method")), headers, self._doors.cors)
            account = self._counted(opt, f"address {address}")
            with counting(account):
                await next_app(scope, receive, _telling(account, send))
            return
        if opt["scope"] == OPEN:
            client, scopes = f"address {address}", frozenset[Any]()
        else:
            key = self._authentication.caller(scope["headers"], opt["scope"], address)
            note_api_key(scope, key.name)
            client, scopes = f"key {key.name}", key.scopes
        account = self._counted(opt, client)
        with granting(scopes), counting(account):
            await next_app(scope, receive, _telling(account, send))

    def _counted(self, opt: dict[str, Any], client: str) -> Account | None:
        """Where this request was counted; None where nothing is.

        Raises:
            TooManyRequestsException: it is one too many.
        """
        if self._window is None or not opt.get("rate_limit", True):
            return None
        account = Account(self._window, client)
        account.take()
        return account


def _telling(account: Account | None, send: Send) -> Send:
    if account is None:
        return send

    async def told(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableScopeHeaders.from_message(message).update(account.headers())
        await send(message)

    return told


async def send_security_headers(message: Message, scope: Scope) -> None:
    """Puts them on every answer, also on those that no route gives; a route's own go before."""
    if message["type"] == "http.response.start":
        message.setdefault("headers", [])
        headers = MutableScopeHeaders.from_message(message)
        for name, value in SECURITY_HEADERS.items():
            headers.setdefault(name, value)


def declared(handler: BaseRouteHandler, method: str) -> dict[str, Any]:
    """What a route declares of its door. What OPTIONS answers is Litestar's, and open."""
    return PROBE if method == "OPTIONS" and "scope" not in handler.opt else handler.opt


def check_declared(app: Litestar) -> None:
    """Every route has a scope: none is open because it was forgotten.

    Raises:
        ImproperlyConfiguredException: one has none.
    """
    for path, method, handler in doors_of(app):
        if declared(handler, method).get("scope") not in (OPEN, *SCOPES):
            raise ImproperlyConfiguredException(
                f"{method} {path} declares no scope: give it opt={{'scope': ...}} with one of "
                f"{', '.join((OPEN, *SCOPES))}"
            )


def doors_of(app: Litestar) -> Iterable[tuple[str, str, BaseRouteHandler]]:
    """Every path, method and handler."""
    for route in app.routes:
        handlers: Iterable[Any] = (
            route.route_handlers if hasattr(route, "route_handlers") else [route.route_handler]
        )
        for handler in handlers:
            for method in sorted(getattr(handler, "http_methods", ())) or ["ASGI"]:
                yield route.path_format, method, handler
