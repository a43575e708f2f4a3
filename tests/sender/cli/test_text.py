"""Figures and tables as people read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sender.cli.text import count, duration, milliseconds, moment, plural, signal_name, size, table


@pytest.mark.parametrize(
    ("n_bytes", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (123_085, "120.2 KiB"),
        (1_048_575, "1.0 MiB"),
        (64_906_854, "61.9 MiB"),
        (4 << 30, "4 GiB"),
        (87_187_825_459, "81.2 GiB"),
        (5 << 50, "5120 TiB"),
    ],
)
def test_a_size_has_one_decimal_unless_it_is_exact(n_bytes: int, shown: str) -> None:
    """Powers of 1,024, and never 1024.0 of a unit that has a next one."""
    assert size(n_bytes) == shown


@given(st.integers(min_value=1, max_value=1 << 60))
def test_a_size_is_never_off_by_more_than_a_twentieth_of_its_unit(n_bytes: int) -> None:
    """Rounding is all that is lost."""
    number, unit = size(n_bytes).split()
    factor = 1024 ** ["B", "KiB", "MiB", "GiB", "TiB"].index(unit)
    assert abs(float(number) * factor - n_bytes) <= factor * 0.0501


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0.0 s"),
        (0.4, "0.4 s"),
        (3.21, "3.2 s"),
        (9.94, "9.9 s"),
        (9.97, "10 s"),
        (31.2, "31 s"),
        (119.4, "119 s"),
        (120, "2 min"),
        (3599.4, "59 min"),
        (3599.6, "1 h 0 min"),
        (7_260, "2 h 1 min"),
        (86_399.7, "1 d 0 h"),
        (273_600, "3 d 4 h"),
    ],
)
def test_a_duration_is_in_its_largest_units(seconds: float, shown: str) -> None:
    """Two units at most, and none that its own rounding would overflow."""
    assert duration(seconds) == shown


def test_an_answers_time_is_in_milliseconds() -> None:
    """Also where it is longer than a second, so that a column stays comparable."""
    assert milliseconds(0.0482) == "48 ms"
    assert milliseconds(1.5) == "1,500 ms"


def test_a_count_has_separators_and_says_if_it_is_an_estimate() -> None:
    """A tilde stands before what was not counted."""
    assert count(1_048_576) == "1,048,576"
    assert count(1_204_000, exact=False) == "~1,204,000"


def test_a_noun_agrees_with_its_number() -> None:
    """One warning, no warnings, two warnings."""
    assert [plural(n, "warning") for n in (0, 1, 2)] == ["0 warnings", "1 warning", "2 warnings"]


@pytest.mark.usefixtures("berlin")
def test_a_moment_is_in_the_readers_own_time() -> None:
    """Whoever looks at a status looks at a clock on a wall."""
    assert moment(1_795_507_982) == "24 Nov 09:13 CET"


def test_a_signal_has_the_name_that_one_types() -> None:
    """And a number that is none is shown as it stands."""
    assert [signal_name(number) for number in (15, "2", "999", "x")] == [
        "TERM",
        "INT",
        "signal 999",
        "signal x",
    ]


def test_a_tables_columns_are_as_wide_as_their_widest_cell() -> None:
    """Names flush left, figures flush right, no blanks at a line's end."""
    rows = [["20261123T204501Z-4f2a91c3", "3", "36.1 MiB"], ["2 idle", "2", ""]]
    assert table(["PARTITION", "SEGMENTS", "SIZE"], rows, right={1, 2}).split("\n") == [
        "PARTITION                  SEGMENTS      SIZE",
        "20261123T204501Z-4f2a91c3         3  36.1 MiB",
        "2 idle                            2",
    ]


def test_a_table_without_rows_is_its_header() -> None:
    """Nothing to show is no error."""
    assert table(["ID", "WHEN"], []) == "ID  WHEN"
