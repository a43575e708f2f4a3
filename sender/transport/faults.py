"""What an exception under requests means, as one of api.py's failures.

Owns the reading of exceptions. Their text holds URL and key, so that nothing of it leaves this module: what comes out
is a constant, or a proxy's status. urllib3 wraps http.client and the system's own errors, each in its own way and anew
with each release; so the whole chain is looked through for the causes that are known by type.
"""

from __future__ import annotations

import errno
import http.client
import re
import socket
import ssl
from typing import TYPE_CHECKING, Final

import urllib3.exceptions

from sender.api import outcome_of_failure, outcome_of_tunnel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sender.api import Failure
    from sender.flow import Outcome

__all__ = ["outcome_of_error"]

_UNREACHABLE: Final = frozenset(
    {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.ENETDOWN}
)

_BY_TYPE: Final[tuple[tuple[tuple[type[BaseException], ...], Failure], ...]] = (
    # An end without goodbye in the middle of TLS is a line that broke, not a certificate that is wrong.
    ((ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError), "closed"),
    ((TimeoutError, urllib3.exceptions.ReadTimeoutError), "timeout"),
    ((ssl.SSLError,), "tls"),
    ((socket.gaierror, urllib3.exceptions.NameResolutionError, UnicodeError), "no-address"),
    ((ConnectionRefusedError,), "refused"),
    # RemoteDisconnected is a BadStatusLine too: it must be met first.
    ((ConnectionError, http.client.IncompleteRead, urllib3.exceptions.IncompleteRead), "closed"),
    ((http.client.HTTPException, urllib3.exceptions.ProtocolError), "not-http"),
    ((urllib3.exceptions.SSLError,), "tls"),
)

# http.client's words; the status of a refused CONNECT stands nowhere else.
_TUNNEL: Final = re.compile(r"Tunnel connection failed: (\d{3})\b")


def outcome_of_error(error: BaseException) -> Outcome:
    """Return the outcome of an exchange that ended in `error`.

    >>> outcome_of_error(ConnectionRefusedError()).code
    'refused'
    """
    chain = list(_chain(error))
    for each in chain:
        found = _TUNNEL.match(str(each)) if isinstance(each, OSError) else None
        if found:
            return outcome_of_tunnel(int(found[1]))
    return outcome_of_failure(_failure(chain))


def _failure(chain: list[BaseException]) -> Failure:
    if any(isinstance(each, OSError) and each.errno in _UNREACHABLE for each in chain):
        return "unreachable"
    for types, failure in _BY_TYPE:
        if any(isinstance(each, types) for each in chain):
            return failure
    return "no-answer"


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        each = waiting.pop(0)
        if id(each) not in seen:
            seen.add(id(each))
            yield each
            waiting += _causes(each)


def _causes(error: BaseException) -> list[BaseException]:
    beside = (error.__cause__, error.__context__, getattr(error, "reason", None), *error.args)
    return [each for each in beside if isinstance(each, BaseException)]
