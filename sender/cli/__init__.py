"""The command `kmq-sender`: its root, and the one place where errors become messages and exit codes.

Owns which commands there are and how every one of them ends; knows nothing about what they do. A command is loaded when
it is called, by its name alone, so that `--help` is there at once and only what sends pays for requests.

    sender/cli/NAME.py holds the command NAME as `NAME_command`.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import sys
import traceback
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from kmq import KmqError, __version__
from kmq.errors import spool_error

from .exits import Exit, Failure, exit_for, summary

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main", "root"]

# In the order of the help. The sentence stands here, since asking the command for its own would load it.
_COMMANDS: Final = {
    "run": "Send the spool, and go on until told to stop.",
    "replay": "Send commands again, from the spool or from files.",
    "status": "Show what the sender does and how far behind it is.",
    "rejected": "List, show, resend or drop what could not be delivered.",
    "verify": "Read the whole spool and check it; change nothing.",
    "collector": "Stand in for the tracking API on this machine.",
    "demo": "Show it all on this machine in half a minute.",
}

# click takes two columns off for the margin.
_WIDTH: Final = 88 + 2


class _Root(click.Group):
    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        module = importlib.import_module(f"{__name__}.{name}")
        command: click.Command = getattr(module, f"{name}_command")
        return command

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's own signature
        try:
            result = super().invoke(ctx)
        except KmqError as error:
            raise Failure(str(error), exit_for(error)) from error
        except BrokenPipeError:
            raise  # whoever reads has seen enough; click ends quietly
        except OSError as error:
            if _is_of_output(error):
                _drop_output()
                why = os.strerror(error.errno or errno.EIO)
                raise Failure(f"cannot write to standard output: {why}", Exit.INCOMPLETE) from error
            failure = spool_error(error, "use", str(error.filename or "a file"))
            raise Failure(str(failure), exit_for(failure)) from error
        except KeyboardInterrupt:
            ctx.exit(Exit.INTERRUPTED)
        if isinstance(result, Exit):
            ctx.exit(result)
        return result


def _is_of_output(error: OSError) -> bool:
    """Say whether `error` came of printing: it names no file, and click's `echo` is where it came from."""
    places = [
        frame.f_globals.get("__name__") for frame, _ in traceback.walk_tb(error.__traceback__)
    ]
    return error.filename is None and places[-1:] == ["click.utils"]


def _drop_output() -> None:
    # What is still buffered would fail once more when the interpreter ends, in Python's own words and with 120.
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _epilog() -> str:
    return f"Exit codes: {summary()}"


@click.group(
    "kmq-sender",
    cls=_Root,
    epilog=_epilog(),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": _WIDTH},
)
@click.version_option(__version__, prog_name="kmq-sender", message="%(prog)s %(version)s")
@click.pass_context
def root(ctx: click.Context) -> None:
    """Send what apps have put into a kmq spool to KISSmetrics, and look after it."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        ctx.color = False  # click itself asks only whether it writes to a terminal


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run `kmq-sender` with `arguments`, those of the process if None; raises SystemExit with the exit code."""
    root.main(args=arguments, prog_name="kmq-sender")
    raise AssertionError(
        "click ends the process"
    )  # pragma: no cover - click's main does not return
