"""The account at the end: what was acknowledged against what arrived.

Owns the counting, and which requests are of one command. Pure; knows nothing about processes, files or HTTP.

A command is known by its person, since each of a writer's commands has a person of its own; those of the common
methods, who share one, by their whole request.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["Account", "Twin", "command_of", "take_account", "text_of", "visitor"]

_VISITOR: Final = "visitor-"
_OK: Final = 200


@dataclass(frozen=True, slots=True)
class Twin:
    """Two requests of one command: their numbers at the collector, and the text of both."""

    first: int
    second: int
    text: str


@dataclass(frozen=True, slots=True)
class Account:
    """What came of the commands.

    `lost` were acknowledged and never answered 200. `unacknowledged` arrived though no call had returned: their writer
    was killed in between. `changed` came in more than one form, so that KISSmetrics could not tell that they are one.
    `answers` counts requests by their answer (a status, or `drop`), `again` those answered 200 once more, `repeats` all
    beyond the first of their command; `twin` is one of these.
    """

    acknowledged: int
    delivered: int
    lost: tuple[str, ...]
    unacknowledged: tuple[str, ...]
    changed: tuple[str, ...]
    requests: int
    answers: Mapping[str, int]
    again: int
    repeats: int
    twin: Twin | None

    @property
    def sound(self) -> bool:
        """Whether nothing was lost and nothing changed on its way."""
        return not self.lost and not self.changed

    @property
    def verdict(self) -> str:
        """The last line of the show."""
        return f"{self.acknowledged:,} acknowledged, {self.delivered:,} delivered, {len(self.lost):,} lost"


def visitor(writer: int, number: int) -> str:
    """Return the person whom command `number` of a writer is about.

    >>> visitor(3, 17)
    'visitor-3-00017'
    """
    return f"{_VISITOR}{writer}-{number:05d}"


def command_of(arrival: Mapping[str, object]) -> str:
    """Return which command a request is of."""
    params = arrival["params"]
    person = params.get("_p", "") if isinstance(params, dict) else ""
    return person if person.startswith(_VISITOR) else text_of(arrival)


def text_of(arrival: Mapping[str, object]) -> str:
    """Return a request as it came, without its method and host."""
    return f"{arrival['path']}?{arrival['raw']}"


def take_account(acknowledged: Iterable[str], arrivals: Sequence[Mapping[str, object]]) -> Account:
    """Compare the commands whose calls returned with all requests that arrived, oldest first."""
    wanted = set(acknowledged)
    by_command: dict[str, list[Mapping[str, object]]] = {}
    for arrival in arrivals:
        by_command.setdefault(command_of(arrival), []).append(arrival)
    good = {
        command: sum(arrival["answer"] == _OK for arrival in same)
        for command, same in by_command.items()
    }
    delivered = {command for command, times in good.items() if times}
    return Account(
        acknowledged=len(wanted),
        delivered=len(wanted & delivered),
        lost=tuple(sorted(wanted - delivered)),
        unacknowledged=tuple(sorted(set(by_command) - wanted)),
        changed=tuple(sorted(command for command, same in by_command.items() if _differ(same))),
        requests=len(arrivals),
        answers=Counter(str(arrival["answer"]) for arrival in arrivals),
        again=sum(times - 1 for times in good.values() if times),
        repeats=len(arrivals) - len(by_command),
        twin=_twin(by_command.values()),
    )


def _differ(same: Sequence[Mapping[str, object]]) -> bool:
    return len({text_of(arrival) for arrival in same}) > 1


def _twin(groups: Iterable[Sequence[Mapping[str, object]]]) -> Twin | None:
    """Choose a command that was answered 200 twice; that, and not a retry, is what must collapse."""
    for same in groups:
        good = [arrival for arrival in same if arrival["answer"] == _OK]
        if len(good) > 1:
            return Twin(_number(good[0]), _number(good[1]), text_of(good[0]))
    return None


def _number(arrival: Mapping[str, object]) -> int:
    number = arrival["seq"]
    return number if isinstance(number, int) else 0
