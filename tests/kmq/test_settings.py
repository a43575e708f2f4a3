"""Settings as text: every form that is taken, and that nothing else is."""

from __future__ import annotations

import pytest

from kmq import environment
from kmq.environment import DEFAULT_MAX_SPOOL, Settings
from kmq.errors import InvalidSetting
from kmq.settings import age, size, switch


@pytest.mark.parametrize("text", ["1", "true", "YES", " on "])
def test_a_switch_is_on(text: str) -> None:
    """Four words, in any case."""
    assert switch("KMQ_SYNC", text) is True


@pytest.mark.parametrize("text", ["0", "false", "No", "off", "", "  "])
def test_a_switch_is_off(text: str) -> None:
    """Four words, or nothing at all."""
    assert switch("KMQ_SYNC", text) is False


@pytest.mark.parametrize("text", ["2", "maybe", "y", "enabled", "none"])
def test_anything_else_is_no_switch(text: str) -> None:
    """A guess would be silent; the error names variable, text and what is allowed."""
    with pytest.raises(InvalidSetting, match=f"KMQ_SYNC is '{text}': it must be 1, true"):
        switch("KMQ_SYNC", text)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1000", 1000),
        ("64MiB", 64 << 20),
        ("4GiB", 4 << 30),
        ("4 GB", 4 << 30),
        ("4g", 4 << 30),
        ("1.5K", 1536),
        ("2T", 2 << 40),
        ("0", 0),
        (" 7B ", 7),
    ],
)
def test_sizes(text: str, number: int) -> None:
    """Powers of 1,024, with or without their letters."""
    assert size("KMQ_MAX_SPOOL", text) == number


@pytest.mark.parametrize(
    "text", ["", "-1", "GiB", "5i", "1e9", "4 GiB!", "٤", "9" * 400, "1,000", "inf"]
)
def test_what_is_no_size(text: str) -> None:
    """Neither signs, nor exponents, nor digits of other scripts, nor numbers beyond any disk."""
    with pytest.raises(InvalidSetting, match="a size such as"):
        size("KMQ_MAX_SPOOL", text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10", 10.0),
        ("30s", 30.0),
        ("5m", 300.0),
        ("2h", 7200.0),
        ("7d", 604800.0),
        ("1.5 h", 5400.0),
        ("2w", 1209600.0),
    ],
)
def test_ages(text: str, seconds: float) -> None:
    """A number and a unit, seconds without one."""
    assert age("KMQ_RETENTION_AGE", text) == seconds


@pytest.mark.parametrize("text", ["", "d", "-5m", "7 days", "inf", "nan", "9" * 400])
def test_what_is_no_age(text: str) -> None:
    """An age that nobody can mean is an error at the start."""
    with pytest.raises(InvalidSetting, match="an age such as"):
        age("KMQ_RETENTION_AGE", text)


def test_an_empty_environment_gives_the_defaults() -> None:
    """No sync, errors raised, enabled, 4 GiB."""
    assert environment.read({}, sync=None, refusal=None) == Settings(
        sync=False, on_error="raise", disabled=False, max_bytes=DEFAULT_MAX_SPOOL
    )


def test_the_variables_are_taken() -> None:
    """Each of the four, in its own form."""
    environ = {
        "KMQ_SYNC": "yes",
        "KMQ_ON_ERROR": "log",
        "KMQ_DISABLED": "1",
        "KMQ_MAX_SPOOL": "1MiB",
    }
    assert environment.read(environ, sync=None, refusal=None) == Settings(
        sync=True, on_error="log", disabled=True, max_bytes=1 << 20
    )


def test_an_argument_goes_before_its_variable() -> None:
    """What the code says beats what the environment says, even where the variable is wrong."""
    environ = {"KMQ_SYNC": "nonsense", "KMQ_ON_ERROR": "nonsense"}
    read = environment.read(environ, sync=False, refusal="log")
    assert (read.sync, read.on_error) == (False, "log")


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("KMQ_SYNC", "perhaps"),
        ("KMQ_DISABLED", "perhaps"),
        ("KMQ_ON_ERROR", "ignore"),
        ("KMQ_MAX_SPOOL", "lots"),
        ("KMQ_MAX_SPOOL", "0"),
        ("KMQ_MAX_SPOOL", "1000"),
    ],
)
def test_a_wrong_value_names_its_variable(variable: str, text: str) -> None:
    """Nothing is guessed: 0 is no way to say unlimited, and a cap below one line would refuse every call."""
    with pytest.raises(InvalidSetting, match=f"{variable} is '{text}'"):
        environment.read({variable: text}, sync=None, refusal=None)
