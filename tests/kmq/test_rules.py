"""KISSmetrics' rules, one by one."""

from __future__ import annotations

import pytest

from kmq.rules import EARLIEST, LATEST, name_fault, person_fault, text_fault, time_fault


def code_of(fault: object) -> str | None:
    """Return a fault's code, or None for no fault."""
    return getattr(fault, "code", None)


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "\t\n",
        "null",
        "nil",
        "None",
        "undefined",
        "'null'",
        "'nil'",
        '"null"',
        '"nil"',
        "''",
        '""',
    ],
)
def test_what_identifies_nobody(value: str) -> None:
    """Words that programs print for nothing would make one person of everybody."""
    assert code_of(person_fault(value)) == "no-person"


@pytest.mark.parametrize(
    "value", ["bob@bob.com", "b", "a:b,c", "5", "nullify", "guest", "é" * 255, "a b"]
)
def test_what_is_an_identity(value: str) -> None:
    """Anything else of up to 255 characters, counted after decoding."""
    assert person_fault(value) is None


def test_an_identity_has_at_most_255_characters() -> None:
    """Over it the API's own parameter table is left."""
    assert code_of(person_fault("x" * 256)) == "person-too-long"


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("", "no-name"),
        ("  ", "no-name"),
        ("x" * 256, "name-too-long"),
        ("a\ud800", "no-name"),
        ("x" * 255, None),
        ("Café", None),
    ],
    ids=["empty", "blank", "256", "surrogate", "255", "accent"],
)
def test_names(value: str, code: str | None) -> None:
    """Not empty, at most 255 characters, and characters all of them."""
    assert code_of(name_fault(value)) == code


def test_a_fault_says_what_it_is_about() -> None:
    """The rule names an event or a property, as it was asked."""
    fault = name_fault("", what="a property's name")
    assert fault is not None
    assert fault.rule == "a property's name must not be empty"


def test_lone_surrogates_are_no_text() -> None:
    """No UTF-8 can carry them, whichever field they stand in."""
    assert code_of(text_fault("a\udcff", "not-utf8")) == "not-utf8"
    assert code_of(person_fault("a\udcff")) == "no-person"
    assert text_fault("😀\x00\u2028", "not-utf8") is None


@pytest.mark.parametrize(
    ("seconds", "code"),
    [
        (EARLIEST - 1, "too-old"),
        (EARLIEST, None),
        (-5, "too-old"),
        (LATEST - 1, None),
        (LATEST, "milliseconds"),
    ],
)
def test_times(seconds: int, code: str | None) -> None:
    """From 2009 on, and in seconds."""
    assert code_of(time_fault(seconds)) == code
