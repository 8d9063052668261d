"""`sightgraph serve`."""

import ipaddress
import logging.config
from typing import TYPE_CHECKING

import click

from app.cli.logs import logging_config
from app.cli.starting import declarations_told, read_settings

if TYPE_CHECKING:
    import socket

    from app.cli.stopping import StoppingServer
    from app.core.seat import Seat
    from app.settings import Settings

log = logging.getLogger(__name__)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port",
    default=8000,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="The port.",
)
@click.option("--no-auth", is_flag=True, help="Let everybody who reaches the address use the server.")
@click.option("--offline", is_flag=True, help="Keep off the network for model weights.")
@click.option("--preload", is_flag=True, help="Load every model that is here at the start.")
@click.option(
    "--weights",
    type=click.Choice(["real", "random"]),
    help="`random` puts random ones of full size in place of those that are downloaded, for measurements.",
)
@click.option(
    "--workers",
    default=1,
    show_default=True,
    type=click.IntRange(1, 64),
    help="Processes that serve on the port; each has its share of the cores as lanes.",
)
def serve(
    host: str,
    port: int,
    no_auth: bool,
    offline: bool,
    preload: bool,
    weights: str | None,
    workers: int,
) -> None:
    """Start the server.

    Every setting is an environment variable with the prefix SIGHTGRAPH_.
    """
    settings = read_settings(offline=offline, preload=("all",) if preload else (), weights=weights)
    check_bound(host, settings, no_auth=no_auth)
    logging.config.dictConfig(logging_config(settings.log_format, settings.log_level))
    if workers > 1:
        from app.cli.workers import serve_by_workers

        serve_by_workers(settings, host, port, workers)
        return
    # A port that is taken ends the start here, before anything takes time.
    with bound(host, port) as listener:
        build_server(divided(settings), host).run(sockets=[listener])


def divided(settings: "Settings") -> "Settings":
    """With the division of the cores that computes most, and the threads on which one call is answered first,
    where nothing of it is set."""
    if settings.model_fields_set & {"lanes", "threads", "threads_alone"}:
        return settings
    from app.engines.division import best_division, elsewhere_measured, fastest_call

    try:
        rates = elsewhere_measured(settings.lanes)
    except RuntimeError as error:
        log.warning("how the cores are best divided cannot be measured (%s); lanes have one thread", error)
        return settings
    best = best_division(rates)
    alone = max(best.threads, fastest_call(rates))
    most = max(rates.values())
    told = ", ".join(f"{each.lanes} x {each.threads}: {rate / most:.2f}" for each, rate in rates.items())
    log.info(
        "lanes: %d; threads of each: %d, of one that computes alone: %d (lanes x threads: share of the most "
        "calls a second; %s)",
        *(*best, alone, told),
    )
    return settings.model_copy(update={**best._asdict(), "threads_alone": alone})


def build_server(
    settings: "Settings", host: str, seat: "Seat | None" = None, *, load_ahead: bool = True
) -> "StoppingServer":
    """A server for sockets that are bound, as `create_app` makes it.

    Raises:
        ClickException: an operation is declared wrongly, or a setting names one that is not there.
    """
    import uvicorn

    from app.cli.stopping import StoppingServer
    from app.main import build_doors, create_app

    with declarations_told():
        doors = build_doors(settings, loopback=is_loopback(host))
        app = create_app(settings, load_ahead=load_ahead, doors=doors, seat=seat)
    config = uvicorn.Config(
        app,
        log_config=None,
        # It would show queries; `app.api.access_log` does not.
        access_log=False,
        server_header=False,
        forwarded_allow_ips=list(settings.trusted_proxies),
    )
    return StoppingServer(config, app.room, settings.stop_within, settings.stop_delay)


def bound(host: str, port: int) -> "socket.socket":
    """A socket at an address, of which the log tells. Ends the process where it is taken."""
    import uvicorn

    return uvicorn.Config("", host=host, port=port, log_config=None).bind_socket()


def check_bound(host: str, settings: "Settings", *, no_auth: bool) -> None:
    """Others reach a server only by its owner's will.

    Raises:
        ClickException: the address is not loopback, and nothing says who may come in.
    """
    if no_auth and settings.api_keys:
        raise click.UsageError("--no-auth and SIGHTGRAPH_API_KEYS contradict each other; take one away.")
    if not (is_loopback(host) or settings.api_keys or no_auth):
        raise click.ClickException(
            f"--host {host} lets other machines in, and nothing says who may use the server. Set "
            "SIGHTGRAPH_API_KEYS (`sightgraph keys new NAME` makes a key), or say --no-auth to let everybody."
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
