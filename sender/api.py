"""The tracking API as pure functions: a command becomes a request, an answer becomes an outcome.

Owns what goes over the wire and what an answer means: parameters and their order, GET or POST, which statuses
deliver, wait, block or reject, `Retry-After`, the delay before the next try. Knows nothing about connections,
threads or clocks: time and chance are handed in. Two invariants: the same command and key give the same request,
byte for byte, on every resend and in every transport (KISSmetrics' rule of duplicates rests on that), and only an
answer of the API itself can reject a command, never a fault on the way to it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from .flow import Outcome, Verdict
from .quoting import Remembered, quoted

if TYPE_CHECKING:
    from kmq.command import Command

__all__ = [
    "MAX_HEAD",
    "MAX_QUERY",
    "MAX_RETRY_AFTER_S",
    "MAX_SAID",
    "Answer",
    "Failure",
    "Request",
    "delay_s",
    "outcome_of",
    "outcome_of_failure",
    "outcome_of_tunnel",
    "request_for",
]

MAX_QUERY: Final = 2000
"""Characters of a query that still goes by GET; a longer one is the body of a POST (as in the vendor's iOS SDK)."""

MAX_HEAD: Final = 1024
"""Bytes of an answer's body that are looked at."""

MAX_SAID: Final = 500
"""Characters of an answer's body that are kept with a rejected command."""

MAX_RETRY_AFTER_S: Final = 300.0
"""A `Retry-After` is honoured up to here: a wrong one must not silence a host for a day."""

_FIRST_DELAY_S: Final = 0.5
_MAX_DELAY_S: Final = 30.0
_DOUBLINGS: Final = 6  # 0.5 s doubled six times is past the cap

_PROTOCOL: Final = frozenset({"_k", "_p", "_n", "_t", "_d"})
_KEY_IN_TEXT: Final = re.compile(r"(_k(?:=|%3[dD]))[^&\s\"'<>;]+")

_WRONG_SETTINGS: Final = frozenset({401, 403, 404, 407})
_WORTH_A_RETRY: Final = frozenset({408, 425, 429})

_PAGE_TYPES: Final = frozenset({"text/html", "application/xhtml+xml"})
_PAGE_HEAD: Final = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype\s+html|html|head|body|title|meta|script|!--)",
    re.IGNORECASE,
)

_SECONDS: Final = re.compile(r"[0-9]{1,9}")

Path = Literal["/e", "/s", "/a"]

Failure = Literal[
    "no-address",
    "refused",
    "unreachable",
    "closed",
    "timeout",
    "not-http",
    "no-answer",
    "proxy-failed",
    "proxy-refused",
    "tls",
]
"""Why no answer came. `closed` covers half an answer and a reset, `no-answer` whatever else went wrong."""

_TAKEN: Final = Outcome(Verdict.DELIVERED, "answered-200", 200)
"""What nearly every answer means: one for all of them, as making one takes longer than looking at an answer."""

_BLOCKING: Final[frozenset[Failure]] = frozenset({"proxy-refused", "tls"})


class Request(NamedTuple):
    """What goes over the wire. By GET the query follows `path` and a `?`; by POST it is the body.

    One is made for each command, and a frozen dataclass takes nearly twice as long to make.
    """

    method: Literal["GET", "POST"]
    path: Path
    query: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. `head` is at most `MAX_HEAD` bytes of the body; `content_type` is "" where there is none."""

    status: int
    content_type: str
    retry_after: str | None
    head: bytes


def request_for(command: Command, key: str) -> Request:
    """Return the request that delivers `command`, under its own key if it carries one, else under `key`.

    The time always counts (`_d=1`), except for an alias, which has none on the wire.

    >>> from kmq.command import Command
    >>> request_for(Command("bob", 1262304000, "Signed Up", properties={"gender": "male"}), "api-key").query
    '_k=api-key&_p=bob&_n=Signed+Up&gender=male&_t=1262304000&_d=1'
    """
    query = f"_k={_TEXTS[command.key or key]}&_p={_TEXTS[command.person]}"
    if command.other is not None:
        return _request("/a", f"{query}&_n={_TEXTS[command.other]}")
    if command.name is not None:
        query += f"&_n={_TEXTS[command.name]}"
    for name, value in command.properties.items():
        if beginning := _BEGINNINGS[name]:
            # A dict whose keys are not all plain `str` is slower for all of them, so no `Number` is remembered.
            query += beginning + (_TEXTS[value] if type(value) is str else quoted(value))
    return _request("/s" if command.name is None else "/e", f"{query}&_t={command.time}&_d=1")


def _request(path: Path, query: str) -> Request:
    return Request("GET" if len(query) <= MAX_QUERY else "POST", path, query)


def _beginning(name: str) -> str:
    # A line cannot hold these as properties; whoever builds a Command otherwise must not replace key or person either.
    return "" if name in _PROTOCOL else f"&{quoted(name)}="


_TEXTS: Final = Remembered(quoted)
_BEGINNINGS: Final = Remembered(_beginning)
"""What stands before the value of a property; nothing for a name that is none."""


def outcome_of(answer: Answer, now: float) -> Outcome:
    """Return what `answer` means, at the time `now` (seconds since the epoch, for a `Retry-After` that is a date).

    Statuses that HTTP does not know (1xx as a last answer, 600 and above) are retried: they say nothing about the data.

    >>> outcome_of(Answer(503, "", "7", b""), now=0.0)
    Outcome(verdict=<Verdict.RETRY: 'retry later'>, code='answered-503', status=503, retry_after_s=7.0, said='')
    """
    if answer.status == 200 and answer.content_type == "image/gif":  # noqa: PLR2004 - the API's own answer
        return _TAKEN
    status, code = answer.status, f"answered-{answer.status}"
    if _is_success(status) and _is_web_page(answer):
        return Outcome(Verdict.BLOCKED, "web-page", status)
    verdict = _verdict(status)
    if verdict is Verdict.RETRY:
        return Outcome(verdict, code, status, _retry_after_s(answer.retry_after, now))
    if verdict is Verdict.REJECTED:
        return Outcome(verdict, code, status, said=_said(answer.head))
    return Outcome(verdict, code, status)


def outcome_of_failure(kind: Failure) -> Outcome:
    """Return what it means that no answer came: wait and try again, or settings that are wrong.

    >>> outcome_of_failure("timeout").verdict, outcome_of_failure("tls").verdict
    (<Verdict.RETRY: 'retry later'>, <Verdict.BLOCKED: 'blocked'>)
    """
    return Outcome(Verdict.BLOCKED if kind in _BLOCKING else Verdict.RETRY, kind)


def outcome_of_tunnel(status: int) -> Outcome:
    """Return what it means that a proxy answered CONNECT with `status`: the proxy's word, never about the data.

    >>> outcome_of_tunnel(407).code, outcome_of_tunnel(502).code
    ('proxy-refused', 'proxy-failed')
    """
    waits = _verdict(status) is Verdict.RETRY
    return Outcome(
        Verdict.RETRY if waits else Verdict.BLOCKED,
        "proxy-failed" if waits else "proxy-refused",
        status,
    )


def delay_s(failures: int, random: float) -> float:
    """Return the seconds to wait after `failures` failures in a row (1 or more): full jitter, 0.5 s doubling to 30 s.

    `random` is in [0, 1).

    >>> delay_s(1, 0.5), delay_s(3, 0.5), delay_s(1000, 0.5)
    (0.25, 1.0, 15.0)
    """
    return random * min(_MAX_DELAY_S, _FIRST_DELAY_S * 2.0 ** min(failures - 1, _DOUBLINGS))


def _is_success(status: int) -> bool:
    return 200 <= status < 300  # noqa: PLR2004 - the class of a status is what these numbers say


def _verdict(status: int) -> Verdict:
    # 304 answers a conditional request, which we never make; the vendor's SDKs count it as success and so do we.
    if _is_success(status) or status == 304:  # noqa: PLR2004 - statuses are known by their numbers
        return Verdict.DELIVERED
    if 300 <= status < 400 or status in _WRONG_SETTINGS:  # noqa: PLR2004 - statuses are known by their numbers
        return Verdict.BLOCKED
    if 400 <= status < 500 and status not in _WORTH_A_RETRY:  # noqa: PLR2004 - statuses are known by their numbers
        return Verdict.REJECTED
    return Verdict.RETRY


def _is_web_page(answer: Answer) -> bool:
    # The API answers with an image; a captive portal or a proxy that wants a login answers 200 with a page.
    kind = answer.content_type.partition(";")[0].strip().lower()
    return kind in _PAGE_TYPES or (not kind and _PAGE_HEAD.match(answer.head) is not None)


def _retry_after_s(text: str | None, now: float) -> float | None:
    if text is None:
        return None
    stripped = text.strip()
    seconds = float(stripped) if _SECONDS.fullmatch(stripped) else _until(stripped, now)
    return None if seconds is None else min(max(seconds, 0.0), MAX_RETRY_AFTER_S)


def _until(date: str, now: float) -> float | None:
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - 1.7 MB, for what hardly a server sends

    try:
        when = parsedate_to_datetime(date)
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() - now
    except (
        IndexError,
        OverflowError,
        TypeError,
        ValueError,
    ):  # not a date; what the header asks for is unknown
        return None


def _said(head: bytes) -> str:
    # An error page may quote the request, and with it the key; control characters would act on a terminal.
    text = _KEY_IN_TEXT.sub(r"\1***", head.decode(errors="replace"))
    return "".join(c if c.isprintable() else " " for c in text[:MAX_SAID]).strip()
