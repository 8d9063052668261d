"""`sightgraph completion`: what a shell needs to complete the command's words."""

import click
from click.shell_completion import get_completion_class

# By it click knows, of the program's name, that a shell asks.
_VARIABLE = "_SIGHTGRAPH_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script by which a shell completes words.

    It completes commands, options, files and the types of operations.

    Where the shell finds it, once and for all:

    \b
    sightgraph completion bash > ~/.local/share/bash-completion/completions/sightgraph
    sightgraph completion zsh > "${fpath[1]}/_sightgraph"
    sightgraph completion fish > ~/.config/fish/completions/sightgraph.fish

    For bash that takes its package bash-completion; without it, put this into ~/.bashrc:

    \b
    eval "$(sightgraph completion bash)"

    Of `-t`, bash completes the type; zsh and fish also its params and their values.
    """
    made = get_completion_class(shell)
    assert made is not None
    click.echo(made(context.find_root().command, {}, "sightgraph", _VARIABLE).source(), nl=False)
