"""The client: `record`, `set`, `identify`, `alias` and `push`, from a call to a line in the spool.

Owns the order of a call: who, check, warn, append, and what happens when the spool refuses. Knows nothing about the
network and the sender; when a call returns, its command is in the spool.

A call goes the quick way where it holds nothing new (`lines`) and a lease is there (`lease`): some 2 us, half of them
the write itself. Else, and at least once a second, it goes the long way, which does all that there is to do.

Settings are read from the environment once, at the first use, never at import: KMQ_SPOOL, KMQ_SYNC, KMQ_DISABLED,
KMQ_MAX_SPOOL, KMQ_ON_ERROR.
"""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal

from . import arguments, environment
from .arguments import Doubt
from .clock import CLOCK, Clock
from .command import MAX_LINE, Command, encode
from .errors import InvalidCommand, InvalidSetting, NoPerson, SpoolError, shown
from .identity import CurrentPerson
from .lines import Lines
from .spool import SYSTEM_SPOOL, Spool, default_path
from .writer import Writer, for_process

__all__ = ["Client"]

_log = logging.getLogger("kmq")

_REFUSALS_LOGGED_EVERY_S: Final = 300.0
_DOUBTS_REMEMBERED: Final = 1_000

OnError = Literal["raise", "log"]
Properties = Mapping[str, object]


class Client:
    """Puts commands into a spool. Any number may share one spool; each has its own current person.

    `spool` is the directory (default: `KMQ_SPOOL`, else /var/spool/kmq if it exists, else the user's own). `api_key` is
    for an app with a key of its own; without it the sender's is used. With `sync=True` a call returns after
    `fdatasync`, so that a power cut does not lose it. `on_error="log"` logs and counts what the spool refuses,
    instead of raising; wrong arguments raise all the same. `sync` and `on_error` left at None take KMQ_SYNC and
    KMQ_ON_ERROR, else False and "raise". Raises `InvalidSetting` for a value that none of them can have.

    >>> import os, tempfile
    >>> spool = tempfile.mkdtemp()
    >>> client = Client(spool)
    >>> client.record("Signed Up", {"Plan": "Pro"}, person="bob@bob.com")
    """

    def __init__(
        self,
        spool: str | os.PathLike[str] | None = None,
        *,
        api_key: str | None = None,
        sync: bool | None = None,
        on_error: OnError | None = None,
        clock: Clock = CLOCK,
    ) -> None:
        self.refused = 0
        """How many calls `on_error="log"` has let go, since this client was made."""
        self._path = None if spool is None else _absolute(spool)
        self._key = None if api_key is None else arguments.api_key(api_key)
        self._sync = None if sync is None else _switch("sync", sync)
        self._on_error = None if on_error is None else environment.on_error("on_error", on_error)
        self._clock = clock
        self._person = CurrentPerson()
        self._lines = Lines(self._key, self._person.get, clock.quick)
        self._append: Callable[[bytes], object] = _no_lease
        self._settings: environment.Settings | None = None
        self._writer: Writer | None = None
        self._named = False
        self._warned: set[str] = set()
        self._refusal_logged_at: float | None = None
        self._refused_when_logged = 0

    def identify(self, person: str | None) -> None:
        """Say whom the calls that follow, in this thread or task, are about. None forgets. Writes nothing.

        Raises `InvalidCommand` for what can be no identity.

        >>> Client("/var/spool/kmq").identify("bob@bob.com")
        """
        self._person.set(None if person is None or person == "" else arguments.person(person))

    def record(
        self,
        name: str | Properties | None = None,
        properties: Properties | None = None,
        *,
        person: str | None = None,
    ) -> None:
        """Record that the person did `name`, with `properties`, now or at the `_t` among them (seconds since 1970).

        Without a name it is `set`: `record({...})` and `record(None, {...})`. `person` names somebody for this call
        only. Raises `InvalidCommand` for what KISSmetrics could not use, `NoPerson` when nobody is identified,
        `SpoolError` when the command is not in the spool.

        >>> client = Client("/var/spool/kmq")
        >>> client.record("Signed Up", {"Plan": "Pro", "Amount": 99.95}, person="bob@bob.com")  # doctest: +SKIP
        """
        line = self._lines.record(name, properties, person)
        if line is None or not self._append(line):
            self._record(name, properties, person)

    def set(self, properties: Properties, *, person: str | None = None) -> None:
        """Set `properties` of the person. Raises as `record` does.

        A property that is None is left out; where all are, nothing is written, with a warning the first time.

        >>> client = Client("/var/spool/kmq")
        >>> client.set({"gender": "male"}, person="bob@bob.com")  # doctest: +SKIP
        """
        line = self._lines.set(properties, person)
        if line is None or not self._append(line):
            self._set(properties, person)

    def alias(self, person: str, other: str) -> None:
        """Say that `person` and `other` are one. It cannot be undone: KISSmetrics merges them for good.

        Needs no current person. The order means nothing and the same pair may be given again. Never do it with a shared
        identity such as "guest": everybody would become one person.

        >>> client = Client("/var/spool/kmq")
        >>> client.alias("bob", "bob@bob.com")  # doctest: +SKIP
        """
        now = self._clock.wall()
        self._put(arguments.alias(person, other, now, self._key), now)

    def push(self, *commands: Sequence[object]) -> None:
        """Run commands in the form of the JavaScript library's `_kmq.push([...])`.

        `["record", name, properties]`, `["set", properties]`, `["identify", person]`, `["clearIdentity"]`,
        `["alias", person, other]`. What only a browser can do (callbacks, trackClick, ...) raises `InvalidCommand`.

        >>> client = Client("/var/spool/kmq")
        >>> client.push(["record", "Viewed Homepage"])  # doctest: +SKIP
        """
        for command in commands:
            self._run(command)

    def close(self) -> None:
        """Look once more whether what was written still has its place in the spool. Nothing needs flushing.

        The process keeps its partition until it ends, and later calls work as before.
        """
        if self._writer is None:
            return
        try:
            self._writer.check_names()
        except SpoolError as error:
            self._refuse(error)

    def _record(
        self, name: str | Properties | None, properties: Properties | None, person: str | None
    ) -> None:
        if isinstance(name, Mapping):
            if properties is not None:
                raise InvalidCommand(
                    "record",
                    "two mappings were given",
                    "give a name and properties, or properties alone",
                )
            name, properties = None, name
        if name is None:
            self._set({} if properties is None else properties, person)
            return
        now = self._clock.wall()
        given = {} if properties is None else properties
        self._put(arguments.record(self._who(person), name, given, now, self._key), now)

    def _set(self, properties: Properties, person: str | None) -> None:
        now = self._clock.wall()
        command = arguments.set_properties(self._who(person), properties, now, self._key)
        if command is None:
            self._warn(
                Doubt(
                    "nothing left", "every property of a set was None: there was nothing to write"
                )
            )
            return
        self._put(command, now)

    def _run(self, command: object) -> None:
        if isinstance(command, str) or not isinstance(command, Sequence) or not command:
            raise InvalidCommand(
                f"push {shown(command)}",
                "it is no command",
                'push a list, e.g. ["record", "Viewed Homepage"]',
            )
        name, *given = command
        form = _FORMS.get(name) if isinstance(name, str) else None
        if form is None or not isinstance(name, str):
            raise InvalidCommand(
                f"push {shown(name)}",
                "only a browser can do that",
                f"push one of {', '.join(sorted(_FORMS))}",
            )
        if len(given) not in form:
            raise InvalidCommand(
                f"push {shown(command)}",
                f"{name} takes {' or '.join(map(str, form))} arguments here; a callback runs in a browser only",
                "leave out what is too much",
            )
        method: Callable[..., None] = (
            self.identify if name == "clearIdentity" else getattr(self, name)
        )
        method(*given or [None])

    def _who(self, person: str | None) -> str:
        if person is not None:
            return arguments.person(person)
        current = self._person.get()
        if current is None:
            raise NoPerson(
                "no person",
                "nobody is identified in this thread or task",
                "call identify(person) first, or pass person=",
            )
        return current

    def _put(self, command: Command, now: float) -> None:
        line = encode(command)
        if len(line) > MAX_LINE:
            raise InvalidCommand(
                f"a command of {len(line):,} bytes",
                f"a line has at most {MAX_LINE:,} bytes",
                "send fewer or shorter properties",
            )
        for doubt in arguments.doubts(command, now):
            self._warn(doubt)
        resolved = self._resolved()
        if resolved.disabled:
            return
        try:
            writer = self._writer or self._opened(resolved)
            leases = writer.append(line, durably=resolved.sync)
        except SpoolError as error:
            self._refuse(error)
            return
        self._lines.learn(command, now)
        self._append = self._append_durably if resolved.sync else leases.append
        if not self._named:
            self._name_spool()

    def _append_durably(self, line: bytes) -> bool:
        writer = self._writer
        if writer is None:
            return False
        try:
            if not writer.append_alone(line):
                writer.append(line, durably=True, quick=True)
        except SpoolError as error:
            self._refuse(error)
        return True

    def _refuse(self, error: SpoolError) -> None:
        if self._resolved().on_error == "raise":
            raise error
        self.refused += 1
        now = self._clock.monotonic()
        if (
            self._refusal_logged_at is None
            or now - self._refusal_logged_at >= _REFUSALS_LOGGED_EVERY_S
        ):
            count = self.refused - self._refused_when_logged
            _log.error("%s (commands not spooled since the last such line: %d)", error, count)
            self._refusal_logged_at, self._refused_when_logged = now, self.refused

    def _warn(self, doubt: Doubt) -> None:
        if doubt.about not in self._warned and len(self._warned) < _DOUBTS_REMEMBERED:
            self._warned.add(doubt.about)
            _log.warning("%s", doubt.text)

    def _resolved(self) -> environment.Settings:
        if self._settings is None:
            self._settings = environment.read(os.environ, sync=self._sync, refusal=self._on_error)
            if self._settings.disabled:
                _log.warning("KMQ_DISABLED is set: calls are checked and nothing is written")
        return self._settings

    def _opened(self, resolved: environment.Settings) -> Writer:
        self._writer = for_process(Spool(self._spool_path()), resolved.max_bytes)
        return self._writer

    def _name_spool(self) -> None:
        # After the first command lies there: where nothing could be written, nothing can be missed there either.
        self._named = True
        path = self._spool_path() if self._writer is None else self._writer.place.spool.path
        _log.info("commands go to the spool %s", path)
        if self._path is None and not os.environ.get("KMQ_SPOOL") and path != SYSTEM_SPOOL:
            _log.warning(
                "commands go to %s, as there is no %s. Should that be made later, a sender would look there only: "
                "set KMQ_SPOOL=%s for this app and the sender",
                path,
                SYSTEM_SPOOL,
                path,
            )

    def _spool_path(self) -> str:
        if sys.platform != "linux":
            raise SpoolError(
                f"kmq writes its spool on Linux only, and this is {sys.platform}: send to a gateway (kmq-sender "
                "gateway) on a Linux host, use WSL, or set KMQ_DISABLED=1 to check calls and write nothing",
                path=self._path or SYSTEM_SPOOL,
                code=errno.ENOSYS,
            )
        return self._path or default_path(os.environ)


_FORMS: Final[dict[str, tuple[int, ...]]] = {
    "alias": (2,),
    "clearIdentity": (0,),
    "identify": (1,),
    "record": (1, 2),
    "set": (1,),
}


def _no_lease(_: bytes) -> None:
    """Append nothing: the first call goes the long way."""


def _switch(setting: str, given: object) -> bool:
    if not isinstance(given, bool):
        text = given if isinstance(given, str) else shown(given)
        raise InvalidSetting(setting, text, "True, False or None")
    return given


def _absolute(spool: str | os.PathLike[str]) -> str:
    if not isinstance(spool, str | bytes | os.PathLike):
        raise InvalidSetting("spool", shown(spool), "the path of a directory")
    path = os.fsdecode(spool)
    if (
        not path or "\0" in path
    ):  # an empty one would be whatever directory the app happens to stand in
        raise InvalidSetting("spool", path, "the path of a directory")
    return os.path.abspath(path)
