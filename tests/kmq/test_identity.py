"""The current person, a context's own."""

from __future__ import annotations

import contextvars

from kmq.identity import CurrentPerson


def test_a_person_is_the_contexts_own() -> None:
    """A copied context begins with the person and changes only its own; an empty one begins with nobody."""
    current = CurrentPerson()
    current.set("bob")
    copied = contextvars.copy_context()
    copied.run(current.set, "eve")
    assert current.get() == "bob"
    assert copied.run(current.get) == "eve"
    assert contextvars.Context().run(current.get) is None


def test_two_variables_do_not_know_each_other() -> None:
    """Each client has one of its own."""
    one, two = CurrentPerson(), CurrentPerson()
    one.set("bob")
    assert two.get() is None
