"""A command that goes out as a request comes in as the same command."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st

from kmq.command import Command, Number, Unreadable, decode, encode
from kmq.rules import EARLIEST, LATEST
from sender.api import request_for
from sender.tracking import command_of, pairs_of

NOW = 1_795_513_723.5

text = st.text(max_size=40)
names = st.text(min_size=1, max_size=40).filter(
    lambda name: name not in {"_k", "_p", "_n", "_t", "_d", "_p2"}
)
numbers = st.decimals(allow_nan=False, allow_infinity=False, places=2).map(
    lambda number: Number(f"{number:f}")
)
properties = st.dictionaries(names, text | numbers, max_size=5)
times = st.integers(EARLIEST, LATEST - 1)
keys = st.text(min_size=1, max_size=40)

records = st.builds(Command, names, times, names, properties=properties, key=st.none() | keys)
sets = st.builds(Command, names, times, properties=properties, key=st.none() | keys)
aliases = st.builds(Command, names, times, other=names, key=st.none() | keys)


def is_valid(command: Command) -> bool:
    """Say whether `command` can stand in the spool."""
    try:
        decode(encode(command))
    except Unreadable:
        return False
    return True


@given(command=records | sets | aliases, key=keys)
def test_tracking_is_the_inverse_of_the_api(command: Command, key: str) -> None:
    """For every command that can be spooled; an alias has no time on the wire and gets that of its receipt."""
    assume(is_valid(command))
    request = request_for(command, key)
    tracked = command_of(request.path, pairs_of(request.query.encode("ascii")), NOW)
    time = int(NOW) if command.kind == "alias" else command.time
    assert tracked.command == command._replace(time=time, key=None)
    assert tracked.key == (command.key or key)
