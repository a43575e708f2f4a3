"""Options that several commands share, the form of their help, and where the spool and the API key come from.

Owns the names, variables and help texts of shared options, so that one option reads and means the same everywhere.
Knows nothing about what a command does with them. Precedence, for each: option, then its `KMQ_` variable, then (the
key only) systemd's credential, then the default. No message here ever shows a key, or a URL that holds credentials.
"""

from __future__ import annotations

import errno
import os
from textwrap import dedent
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

import click

from kmq.errors import NoPermission
from kmq.spool import Spool, default_path
from sender.logs import FORMS, LEVELS

from .exits import Exit, Failure
from .kinds import AGE, CAP, RATE, SIZE, TIME, Age, Amount, Size, Time, Whole
from .urls import DEFAULT_URL, resolve_url

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "AGE",
    "CAP",
    "DEFAULT_URL",
    "RATE",
    "SIZE",
    "TIME",
    "Age",
    "Amount",
    "HelpCommand",
    "HelpGroup",
    "Size",
    "Time",
    "api_key_file_option",
    "api_options",
    "ca_file_option",
    "json_option",
    "log_options",
    "max_in_flight_option",
    "resolve_key",
    "resolve_spool",
    "resolve_url",
    "spool_option",
    "timeout_option",
    "transport_option",
    "url_option",
    "yes_option",
]

MAX_KEY_BYTES: Final = 4096

P = ParamSpec("P")
R = TypeVar("R")


class HelpCommand(click.Command):
    """A command whose epilog (examples, signals) is printed line by line, as it was written."""

    def format_epilog(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the epilog without joining or wrapping its lines."""
        _verbatim(self.epilog, formatter)


class HelpGroup(click.Group):
    """A group of such commands."""

    command_class = HelpCommand

    def format_epilog(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the epilog without joining or wrapping its lines."""
        _verbatim(self.epilog, formatter)


def _verbatim(epilog: str | None, formatter: click.HelpFormatter) -> None:
    if not epilog:
        return
    formatter.write_paragraph()
    for line in dedent(epilog).strip("\n").splitlines():
        formatter.write(f"  {line}".rstrip() + "\n")


spool_option = click.option(
    "--spool",
    metavar="DIR",
    envvar="KMQ_SPOOL",
    show_envvar=True,
    help="The spool directory.  [default: /var/spool/kmq if it exists, else ~/.local/state/kmq/spool]",
)
url_option = click.option(
    "--url",
    metavar="URL",
    default=DEFAULT_URL,
    envvar="KMQ_URL",
    show_envvar=True,
    show_default=True,
    help="The tracking API, or a collector.",
)
api_key_file_option = click.option(
    "--api-key-file",
    metavar="FILE",
    envvar="KMQ_API_KEY_FILE",
    show_envvar=True,
    help="File with the product's API key. Without it: KMQ_API_KEY, then systemd's credential api-key.",
)
transport_option = click.option(
    "--transport",
    type=click.Choice(["auto", "requests", "curl"], case_sensitive=False),
    default="auto",
    envvar="KMQ_TRANSPORT",
    show_envvar=True,
    show_default=True,
    help="curl needs pip install 'kmq[curl]' and sends several times faster; auto takes it if it is there.",
)
max_in_flight_option = click.option(
    "--max-in-flight",
    metavar="N",
    type=Whole(),
    default=32,
    envvar="KMQ_MAX_IN_FLIGHT",
    show_envvar=True,
    show_default=True,
    help="Commands sent and not yet answered, at most.",
)
timeout_option = click.option(
    "--timeout",
    metavar="SECONDS",
    type=Amount(above=True, most=3600),
    default=20.0,
    envvar="KMQ_TIMEOUT",
    show_envvar=True,
    show_default=True,
    help="For one request: connecting, and each wait for bytes.",
)
ca_file_option = click.option(
    "--ca-file",
    metavar="FILE",
    envvar="KMQ_CA_FILE",
    show_envvar=True,
    help="PEM bundle to trust. Proxies come from HTTPS_PROXY and NO_PROXY.",
)
json_option = click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Machine-readable; the keys are stable within a major version.",
)
yes_option = click.option("-y", "--yes", is_flag=True, help="Do not ask.")
_log_format_option = click.option(
    "--log-format",
    type=click.Choice(FORMS, case_sensitive=False),
    default="auto",
    envvar="KMQ_LOG_FORMAT",
    show_envvar=True,
    show_default=True,
    help="auto is journal under systemd, text elsewhere.",
)
_log_level_option = click.option(
    "--log-level",
    type=click.Choice(LEVELS, case_sensitive=False),
    default="info",
    envvar="KMQ_LOG_LEVEL",
    show_envvar=True,
    show_default=True,
    help="Names, values and keys appear in no level.",
)


def api_options(command: Callable[P, R]) -> Callable[P, R]:
    """Give `command` all that a sink needs: url, api_key_file, transport, max_in_flight, timeout, ca_file."""
    for option in (
        ca_file_option,
        timeout_option,
        max_in_flight_option,
        transport_option,
        api_key_file_option,
        url_option,
    ):
        command = option(command)
    return command


def log_options(command: Callable[P, R]) -> Callable[P, R]:
    """Give `command` log_format and log_level, for `sender.logs.Log`."""
    return _log_format_option(_log_level_option(command))


def resolve_spool(
    given: str | None,
    environ: Mapping[str, str] = os.environ,
    *,
    must_exist: bool = False,
) -> Spool:
    """Return the spool that `--spool` names, else this host's.

    With `must_exist` a spool that is not there ends the command with 66. Raises `SpoolError` where there is no home.
    """
    spool = Spool(os.path.abspath(given) if given else default_path(environ))
    if must_exist and not os.path.isdir(spool.path):
        raise Failure(
            f"there is no spool at {spool.path}; name one with --spool or KMQ_SPOOL, or let an app or "
            "`kmq-sender run` make it",
            Exit.NO_INPUT,
        )
    return spool


def resolve_key(environ: Mapping[str, str], api_key_file: str | None) -> str:
    """Return the API key: of the file, else of KMQ_API_KEY, else of systemd's credential `api-key`.

    Where there is none the command ends with 78 and says where it was looked for. The key is in no message.
    """
    if api_key_file:
        return _checked(_key_in(api_key_file), f"the file {api_key_file}")
    if environ.get("KMQ_API_KEY", "").strip():
        return _checked(environ["KMQ_API_KEY"], "KMQ_API_KEY")
    directory = environ.get("CREDENTIALS_DIRECTORY")
    credential = os.path.join(directory, "api-key") if directory else None
    if credential and os.path.exists(credential):
        key = _key_in(credential)
        if key.strip():  # the unit's default is blank
            return _checked(key, f"the credential {credential}")
    raise Failure(_nowhere(credential), Exit.CONFIG)


def _nowhere(credential: str | None) -> str:
    last = (
        f"the credential {credential}, missing or blank"
        if credential
        else "no credential api-key of systemd"
    )
    return (
        "no API key. Looked at: --api-key-file and KMQ_API_KEY_FILE, not given; KMQ_API_KEY, not set; "
        f"{last}. Give the product's key in one of these"
    )


def _key_in(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return file.read(MAX_KEY_BYTES).decode("ascii", "replace")
    except PermissionError as error:
        raise NoPermission(
            f"cannot read the API key's file {path}: {error.strerror}; chgrp kmq {path}; chmod 640 {path}",
            path=path,
            code=error.errno or errno.EACCES,
        ) from error
    except OSError as error:
        raise Failure(
            f"cannot read the API key's file {path}: {error.strerror}", Exit.CONFIG
        ) from error


def _checked(text: str, source: str) -> str:
    key = text.strip()
    if key and key.isascii() and key.isprintable() and " " not in key:
        return key
    what = "is empty" if not key else "is not one word of printable characters"
    raise Failure(f"the API key in {source} {what}", Exit.CONFIG)
