"""The command line: the one place that prints and turns names into objects."""

import sys
from typing import Any

import typer

from neurofm.commands import COMMANDS
from neurofm.commands.options import say
from neurofm.errors import NeurofmError

INTERRUPTED = 130


def application() -> typer.Typer:
    """The typer application, one command for each entry of COMMANDS."""
    app = typer.Typer(
        add_completion=False,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        help="Foundation models of neural recordings, for an ordinary lab.",
    )
    for name, function in COMMANDS.items():
        app.command(name)(function)
    return app


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit: 0 done, 2 bad input or configuration, 3 a check failed."""
    try:
        code: Any = application()(arguments, standalone_mode=False)
    except NeurofmError as error:
        say(f"neurofm: {error}")
        code = error.exit_code
    except KeyboardInterrupt:
        say("neurofm: interrupted; what was finished is kept.")
        code = INTERRUPTED
    except typer.Exit as stop:
        code = stop.exit_code
    except Exception as error:  # click's usage errors print themselves; anything else is a bug
        code = _usage(error)
    sys.exit(code or 0)


def _usage(error: Exception) -> int:
    show = getattr(error, "show", None)
    if show is None:
        raise error
    show()
    return int(getattr(error, "exit_code", 2))
