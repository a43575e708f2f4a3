"""Bare clients: one library, a loop of ready URLs, and nothing else. What any sender on that library costs at least.

    python -m benchmarks.bare LIBRARY URLS IN_FLIGHT [CA]

URLS is a file of URLs, one a line; they are asked for again and again, until the process is killed. Each library is
used as its own documentation shows it, with one connection for each request in flight, kept alive.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import itertools
import select
import ssl
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["LIBRARIES"]

_OK: Final = 200


def _pycurl(urls: Iterator[str], in_flight: int, ca: str | None) -> None:
    pycurl = importlib.import_module("pycurl")
    multi = _multi(pycurl, urls, in_flight, ca)
    while True:
        multi.perform()
        while _again(multi, pycurl, urls):
            multi.perform()
        multi.select(1.0)


def _pycurl_epoll(urls: Iterator[str], in_flight: int, ca: str | None) -> None:
    """For hundreds in flight, of which each call of `perform` would look at all."""
    pycurl = importlib.import_module("pycurl")
    watched = select.epoll()
    wanted = {pycurl.POLL_IN: select.EPOLLIN, pycurl.POLL_OUT: select.EPOLLOUT}
    wanted[pycurl.POLL_INOUT] = select.EPOLLIN | select.EPOLLOUT
    known: set[int] = set()
    waits_s = [0.0]

    def on_socket(what: int, fd: int, *_: object) -> None:
        if what == pycurl.POLL_REMOVE:
            known.discard(fd)
            with contextlib.suppress(OSError):  # curl may have closed it already
                watched.unregister(fd)
        elif fd in known:
            watched.modify(fd, wanted[what])
        else:
            known.add(fd)
            watched.register(fd, wanted[what])

    def on_timer(wait_ms: int) -> None:
        waits_s[0] = 1.0 if wait_ms < 0 else wait_ms / 1000

    multi = _multi(pycurl, urls, in_flight, ca)
    multi.setopt(pycurl.M_SOCKETFUNCTION, on_socket)
    multi.setopt(pycurl.M_TIMERFUNCTION, on_timer)
    multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
    while True:
        ready = watched.poll(waits_s[0], in_flight)
        for fd, what in ready:
            acts = pycurl.CSELECT_IN * bool(what & select.EPOLLIN)
            acts |= pycurl.CSELECT_OUT * bool(what & select.EPOLLOUT)
            multi.socket_action(fd, acts)
        _again(multi, pycurl, urls)
        if not ready or waits_s[0] == 0:
            multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)


def _multi(pycurl: Any, urls: Iterator[str], in_flight: int, ca: str | None) -> Any:  # noqa: ANN401 - pycurl ships no types
    multi = pycurl.CurlMulti()
    multi.setopt(pycurl.M_PIPELINING, pycurl.PIPE_MULTIPLEX)
    multi.setopt(pycurl.M_MAX_CONCURRENT_STREAMS, 1_000)
    multi.setopt(pycurl.M_MAXCONNECTS, in_flight)
    for _ in range(in_flight):
        handle = pycurl.Curl()
        handle.setopt(pycurl.WRITEFUNCTION, len)
        handle.setopt(pycurl.NOSIGNAL, 1)
        handle.setopt(pycurl.PIPEWAIT, 1)
        if ca:
            handle.setopt(pycurl.CAINFO, ca)
        handle.setopt(pycurl.URL, next(urls))
        multi.add_handle(handle)
    return multi


def _again(multi: Any, pycurl: Any, urls: Iterator[str]) -> int:  # noqa: ANN401 - pycurl ships no types
    """Give each handle whose answer is there its next URL; return how many there were."""
    again = 0
    queued = 1
    while queued:
        queued, done, failed = multi.info_read()
        if failed:
            raise SystemExit(f"a request failed: {failed[0][1:]}")
        for handle in done:
            if handle.getinfo(pycurl.RESPONSE_CODE) != _OK:
                raise SystemExit("a request was not answered with 200")
            multi.remove_handle(handle)
            handle.setopt(pycurl.URL, next(urls))
            multi.add_handle(handle)
            again += 1
    return again


def _requests(urls: Iterator[str], _: int, ca: str | None) -> None:
    session = importlib.import_module("requests").Session()
    session.verify = ca or True
    for url in urls:
        session.get(url)


def _requests_prepared(urls: Iterator[str], _: int, ca: str | None) -> None:
    requests = importlib.import_module("requests")
    session = requests.Session()
    prepared = session.prepare_request(requests.Request("GET", next(urls)))
    for url in urls:
        prepared.url = url
        session.send(prepared, verify=ca or True)


def _urllib3(urls: Iterator[str], _: int, ca: str | None) -> None:
    pool = importlib.import_module("urllib3").PoolManager(ca_certs=ca)
    for url in urls:
        pool.request("GET", url)


def _httpx(urls: Iterator[str], _: int, ca: str | None) -> None:
    verify = ssl.create_default_context(cafile=ca)
    with importlib.import_module("httpx").Client(verify=verify) as client:
        for url in urls:
            client.get(url)


def _aiohttp(urls: Iterator[str], in_flight: int, ca: str | None) -> None:
    aiohttp = importlib.import_module("aiohttp")

    async def ask(session: Any) -> None:  # noqa: ANN401 - a peer's own type
        for url in urls:
            async with session.get(url) as answer:
                await answer.read()

    async def all_at_once() -> None:
        trusted = ssl.create_default_context(cafile=ca)
        connector = aiohttp.TCPConnector(limit=in_flight, ssl=trusted)
        async with aiohttp.ClientSession(connector=connector) as session:
            await asyncio.gather(*(ask(session) for _ in range(in_flight)))

    asyncio.run(all_at_once())


LIBRARIES: Final[dict[str, Callable[[Iterator[str], int, str | None], None]]] = {
    "pycurl": _pycurl,
    "pycurl-epoll": _pycurl_epoll,
    "aiohttp": _aiohttp,
    "urllib3": _urllib3,
    "requests-prepared": _requests_prepared,
    "requests": _requests,
    "httpx": _httpx,
}


def main() -> None:
    """Ask until somebody kills this."""
    library, where, in_flight, *ca = sys.argv[1:]
    ready = Path(where).read_text("ascii").split()
    LIBRARIES[library](itertools.cycle(ready), int(in_flight), ca[0] if ca else None)


if __name__ == "__main__":
    main()
