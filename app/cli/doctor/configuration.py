"""The settings: whether each is known and fits, and whether they go together."""

import os
from collections.abc import Mapping

import click

from app.cli.doctor.finding import Findings, listed, ok, problem, warning
from app.cli.starting import checked_settings, unnecessary_variables
from app.core.errors import RegistryError
from app.core.registry import Registry
from app.settings import Settings


def read(offline: bool) -> tuple[Settings | None, str]:
    """The settings of the environment, or what is wrong with them."""
    try:
        return checked_settings(offline=offline), ""
    except click.ClickException as error:
        return None, error.message


def configuration(settings: Settings | None, wrong: str) -> Findings:
    """Settings by themselves."""
    unknown = unnecessary_variables(os.environ)
    for name in unknown:
        yield warning("settings", f"{name} is no setting of this server.", _nearest(name))
    if settings is None:
        yield problem(
            "settings",
            f"{wrong[:1].upper()}{wrong[1:]}",
            "Mend it: a server does not start with it, and what depends on it is not looked at here.",
        )
        return
    contradictions = list(contradicting(settings, os.environ))
    yield from contradictions
    if not (unknown or contradictions):
        given = [f"SIGHTGRAPH_{name.upper()}" for name in sorted(settings.model_fields_set - {"offline"})]
        yield ok("settings", f"They fit: {listed(given)}." if given else "All are at their defaults.")


def contradicting(settings: Settings, environment: Mapping[str, str]) -> Findings:
    """Settings that take each other's effect, or do what few people mean."""
    given = settings.model_fields_set
    if settings.offline and "pull" in given and settings.pull:
        yield warning(
            "settings",
            "Offline, nothing is downloaded, and SIGHTGRAPH_PULL has no effect.",
            "Take one of the two away.",
        )
    if environment.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "on", "yes") and not settings.offline:
        yield warning(
            "settings",
            "HF_HUB_OFFLINE keeps the server from the hub, and SIGHTGRAPH_OFFLINE does not say so.",
            "Set SIGHTGRAPH_OFFLINE=1, or unset HF_HUB_OFFLINE.",
        )
    if settings.allow_private_urls:
        names = " SIGHTGRAPH_ALLOWED_HOSTS has no effect beside it." if settings.allowed_hosts else ""
        yield warning(
            "settings",
            "SIGHTGRAPH_ALLOW_PRIVATE_URLS lets whoever may use the server reach every address that it "
            f"reaches.{names}",
            "Name the hosts that are meant in SIGHTGRAPH_ALLOWED_HOSTS instead.",
        )
    if settings.max_pixels > settings.max_pixels_at_once:
        yield warning(
            "settings",
            f"One image may have {settings.max_pixels:,} pixels, and all at once "
            f"{settings.max_pixels_at_once:,}: a large one is worked on alone.",
            "Raise SIGHTGRAPH_MAX_PIXELS_AT_ONCE, or lower SIGHTGRAPH_MAX_PIXELS.",
        )
    if settings.fetch_timeout >= settings.request_timeout:
        yield warning(
            "settings",
            f"An image may take {settings.fetch_timeout:g} seconds to download, and the whole request has "
            f"{settings.request_timeout:g}.",
            "Set SIGHTGRAPH_FETCH_TIMEOUT below SIGHTGRAPH_REQUEST_TIMEOUT.",
        )
    if settings.weights == "random":
        yield warning(
            "settings",
            "SIGHTGRAPH_WEIGHTS=random: downloaded models answer at random, for measurements.",
            "Unset it for real answers.",
        )


def named_operations(settings: Settings, registry: Registry) -> Findings:
    """Whether the operations and engines that settings name exist."""
    from app.main import preferences

    try:
        preferences(settings, registry)
    except RegistryError as error:
        yield problem("settings", f"{error}.", "A server does not start with it: mend SIGHTGRAPH_ENGINES.")
    for name in ("pull", "preload"):
        unknown = [each for each in getattr(settings, name) if each not in registry and each != "all"]
        if unknown:
            yield problem(
                "settings",
                f"SIGHTGRAPH_{name.upper()} names {listed(unknown)}, which this server has not.",
                f"A server does not start with it. There are: {', '.join(registry.public)}.",
            )


def _nearest(name: str) -> str:
    import difflib

    known = [f"SIGHTGRAPH_{field.upper()}" for field in Settings.model_fields]
    near = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.8)
    return f"Did you mean {near[0]}?" if near else "Unset it, or see the table of settings in the README."
