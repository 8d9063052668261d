"""`sightgraph serve`."""

from typing import Any

import click

from app.cli.starting import declarations_told, read_settings

# After this, requests that are still running are cut off.
STOP_WITHIN_SECONDS = 20


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port",
    default=8000,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="The port.",
)
@click.option("--offline", is_flag=True, help="Keep off the network for model weights.")
@click.option("--preload", is_flag=True, help="Load every model that is here at the start.")
@click.option(
    "--weights",
    type=click.Choice(["real", "random"]),
    help="`random` puts random ones of full size in place of those that are downloaded, for measurements.",
)
def serve(host: str, port: int, offline: bool, preload: bool, weights: str | None) -> None:
    """Start the server.

    Every setting is an environment variable with the prefix SIGHTGRAPH_.
    """
    settings = read_settings(offline=offline, preload=("all",) if preload else (), weights=weights)
    import uvicorn

    from app.main import create_app

    with declarations_told():
        app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=LOGGING,
        server_header=False,
        timeout_graceful_shutdown=STOP_WITHIN_SECONDS,
    )
    # A port that is taken ends the start here, before any model is loaded.
    uvicorn.Server(config).run(sockets=[config.bind_socket()])


LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"request_id": {"()": "app.api.request_id.RequestIdFilter"}},
    "formatters": {"line": {"format": "%(asctime)s %(levelname)-7s %(request_id)s %(name)s: %(message)s"}},
    "handlers": {
        "stderr": {
            "class": "logging.StreamHandler",
            "formatter": "line",
            "filters": ["request_id"],
        }
    },
    "root": {"level": "WARNING", "handlers": ["stderr"]},
    "loggers": {"app": {"level": "INFO"}, "uvicorn": {"level": "INFO"}},
}
