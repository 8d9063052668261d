"""Commands that ask a server."""

import socket

from click.testing import CliRunner

from app.cli import main


def test_a_command_ends_with_the_message_on_one_line(url):
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    refused = CliRunner().invoke(main, ["search", "no-such", "--id", "a", "--server", url])
    unreachable = CliRunner().invoke(main, ["search", "no-such", "--id", "a", "--server", nobody])
    assert (refused.exit_code, unreachable.exit_code) == (1, 1)
    assert refused.stderr.startswith("Error: ")
    assert "no-such" in refused.stderr
    assert unreachable.stderr.startswith(f"Error: No answer from {nobody}: ")
    assert len(refused.stderr.splitlines()) == len(unreachable.stderr.splitlines()) == 1
