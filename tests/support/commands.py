"""Commands as Hypothesis makes them: everything that a line can carry."""

from __future__ import annotations

from hypothesis import strategies as st

from kmq.command import Command, Number
from kmq.rules import EARLIEST, LATEST, person_fault

__all__ = ["commands", "names", "numbers", "persons", "properties", "texts"]

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
persons = texts.filter(lambda text: person_fault(text) is None)
names = texts.filter(lambda text: bool(text.strip()) and not text.startswith("_"))
numbers = st.decimals(
    allow_nan=False, allow_infinity=False, places=3, min_value=-(10**15), max_value=10**15
).map(lambda number: Number(format(number, "f")))
properties = st.dictionaries(names, st.one_of(texts, numbers), max_size=5)
times = st.integers(EARLIEST, LATEST - 1)
keys = st.one_of(st.none(), st.text("abcdef0123456789", min_size=1, max_size=40))

_records = st.builds(Command, persons, times, names, properties=properties, key=keys)
_sets = st.builds(Command, persons, times, properties=properties.filter(bool), key=keys)
_aliases = st.builds(Command, persons, times, other=persons, key=keys)

commands = st.one_of(_records, _sets, _aliases)
