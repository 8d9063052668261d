"""Keeps the web pages that a user visits away from a server that asks for no key.

A browser sends forms and reads of any page to any server that the machine reaches, one on loopback among
them. It names the page's site, and the name under which it knows the server.
"""

import ipaddress
from collections.abc import Sequence
from urllib.parse import urlsplit

from litestar.config.cors import CORSConfig
from litestar.datastructures import Headers
from litestar.exceptions import PermissionDeniedException

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_SAME = frozenset({"same-origin", "none"})


def check_name(host: str | None, names: Sequence[str]) -> None:
    """Refuse a request to a name that is not the server's: a page may let its own name lead here, and then
    read the answers as its own (DNS rebinding). An address is not a name.

    Raises:
        PermissionDeniedException: the name is another one.
    """
    if host is None:
        return
    name = _hostname(host)
    if name is None or not (_is_address(name) or _is_named(name, ("localhost", "*.localhost", *names))):
        raise PermissionDeniedException(
            f"Host: '{host[:128]}' is no name of this server; SIGHTGRAPH_SERVER_NAMES takes further ones"
        )


def check_site(method: str, headers: Headers, cors: CORSConfig | None) -> None:
    """Refuse what a page of another site sends to change or compute something.

    Raises:
        PermissionDeniedException: such a page sent it, and CORS does not allow it.
    """
    if method in _SAFE_METHODS:
        return
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site in _SAME or (site is None and origin is None):
        return
    if site is None and origin is not None and _netloc(origin) == headers.get("host", "").lower():
        return
    if origin is not None and cors is not None and cors.is_origin_allowed(origin):
        return
    told = f"of the origin '{origin[:128]}'" if origin is not None else "of another site"
    raise PermissionDeniedException(
        f"A web page {told} may not use this server; SIGHTGRAPH_CORS_ORIGINS takes those that may"
    )


def _is_named(name: str, known: Sequence[str]) -> bool:
    return any(
        each == "*" or (name.endswith(each[1:].lower()) if each.startswith("*.") else name == each.lower())
        for each in known
    )


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _hostname(host: str) -> str | None:
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        return None
    return name.rstrip(".") if name else None


def _netloc(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower() or None
    except ValueError:
        return None
