"""The command line. Nothing heavy is imported before a command needs it."""

import os
from collections.abc import Iterable
from typing import Any

import click

# After this, requests that are still running are cut off.
STOP_WITHIN_SECONDS = 20


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="sightgraph")
def main() -> None:
    """Sightgraph: tasks over one image, resolved into a shared graph."""


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port",
    default=8000,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="The port.",
)
@click.option("--offline", is_flag=True, help="Keep off the network for model weights.")
def serve(host: str, port: int, offline: bool) -> None:
    """Start the server.

    Every setting is an environment variable with the prefix SIGHTGRAPH_.
    """
    import uvicorn
    from pydantic import ValidationError

    from app.core.errors import RegistryError
    from app.core.wording import explain
    from app.main import create_app
    from app.settings import Settings

    chosen: dict[str, Any] = {"offline": True} if offline else {}
    try:
        app = create_app(Settings(**chosen))
    except ValidationError as error:
        problems = error.errors(include_url=False)
        for problem in problems:
            problem["loc"] = (f"SIGHTGRAPH_{problem['loc'][0]}".upper(),)
        raise click.ClickException(f"a setting is wrong: {explain(problems)}") from None
    except RegistryError as error:
        raise click.ClickException(f"an operation is declared wrongly: {error}") from None
    for name in unknown_settings(os.environ, Settings.model_fields):
        click.echo(f"Warning: {name} is no setting of this server.", err=True)
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


def unknown_settings(environment: Iterable[str], known: Iterable[str]) -> list[str]:
    """The variables that look like settings and are none."""
    names = {f"SIGHTGRAPH_{name}".upper() for name in known}
    return sorted(
        name for name in environment if name.upper().startswith("SIGHTGRAPH_") and name.upper() not in names
    )


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


if __name__ == "__main__":
    main()
