"""The harness: rounds in turn, ratios of neighbours, bounds, and a result that survives its file."""

from __future__ import annotations

import gc
import time

import pytest

from benchmarks.harness import Sample, interleave, percentile, quiet, ratio, ratio_of_medians
from benchmarks.report import figure, in_terminal, with_tables
from benchmarks.values import (
    Bound,
    Result,
    Row,
    at_least,
    at_most,
    from_json,
    missing,
    to_json,
)


def test_subjects_take_turns_and_each_round_begins_with_another() -> None:
    """No subject always runs behind the same other one."""
    order: list[str] = []
    subjects = {name: lambda _, name=name: order.append(name) for name in "ABC"}
    interleave(subjects, rounds=3, round_s=0.0)
    assert order == [*"ABC", *"ABC", *"BCA", *"CAB"]


def test_a_round_is_as_many_repetitions_as_take_its_time() -> None:
    """What is quick is repeated more often, so that no clock's own grain is measured."""
    numbers: dict[str, list[int]] = {"quick": [], "slow": []}

    def quick(number: int) -> None:
        numbers["quick"].append(number)
        for _ in range(number):
            pass

    def slow(number: int) -> None:
        numbers["slow"].append(number)
        until = time.perf_counter() + number * 0.002
        while time.perf_counter() < until:
            pass

    samples = interleave({"quick": quick, "slow": slow}, rounds=2, round_s=0.002)
    assert numbers["quick"][-1] > 100 * numbers["slow"][-1]
    assert min(samples["slow"].cpu) > min(samples["quick"].cpu)
    assert {len(sample.cpu) for sample in samples.values()} == {2}


def test_cpu_and_wall_are_told_apart() -> None:
    """What only waits uses no CPU."""
    waits = {"waits": lambda n: time.sleep(n / 1000)}  # what is measured, no wait for something
    sample = interleave(waits, rounds=1, round_s=0.0)["waits"]
    assert isinstance(sample, Sample)
    assert sample.wall[0] > 2 * sample.cpu[0]


def test_the_garbage_collector_rests_while_it_is_measured_and_never_longer() -> None:
    """Also after a subject that failed."""

    def fail() -> None:
        with quiet():
            assert not gc.isenabled()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert gc.isenabled()


def test_a_ratio_is_of_minima_or_of_medians_and_its_spread_of_single_rounds() -> None:
    """One slow round of B changes the spread, not the ratio of the minima."""
    a, b = [3.0, 3.0, 3.0, 6.0, 3.0], [1.0, 1.0, 2.0, 1.0, 1.0]
    assert ratio(a, b).value == 3.0
    assert ratio_of_medians([2.0, 8.0, 4.0], [1.0, 1.0, 1.0]).value == 4.0
    low, high = ratio(a, b).spread
    assert low == pytest.approx(percentile([1.5, 3, 3, 3, 6], 0.1))
    assert high == pytest.approx(percentile([1.5, 3, 3, 3, 6], 0.9))


@pytest.mark.parametrize(
    ("bound", "value", "met"),
    [
        (at_most(2.1), 2.1, True),
        (at_most(2.1), 2.2, False),
        (at_least(0.7), 0.7, True),
        (at_least(0.7), 0.6, False),
        (at_least(0.7), None, None),
        (None, 1.0, None),
    ],
)
def test_a_bound_is_kept_or_not_and_unknown_without_a_value(
    bound: Bound | None,
    value: float | None,
    met: bool | None,  # noqa: FBT001 - a parameter of the test
) -> None:
    """What was not measured has kept nothing."""
    assert Row("id", "what", value, "x", bound=bound).met is met


def test_a_result_is_read_back_as_it_was_written() -> None:
    """But for digits that nobody measured."""
    rows = [
        Row("a", "`a`", 2.04, "x", (2.0, 2.2), {"us": 3.0}, {"n": 2}, at_most(2.1), "note"),
        missing("b", "b", "ms", "nginx is not installed", at_least(1)),
    ]
    result = Result({"cores": "2"}, "full", {"group": rows})
    assert from_json(to_json(result)) == result
    assert '"met": true' in to_json(result)


def test_no_row_is_left_out_of_what_people_read() -> None:
    """A bound that was not kept, and a row without a value, stand there as such."""
    rows = [
        Row("a", "`a`", 2.2, "x", bound=at_most(2.1)),
        missing("b", "b", "ms", "nginx is not installed"),
    ]
    document = "before\n<!-- table: group -->\nold\n<!-- end -->\nafter\n"
    made = with_tables(document, Result({}, "full", {"group": rows}))
    assert "old" not in made
    assert "**not kept**" in made
    assert "NOT KEPT" in in_terminal(rows)
    assert made.startswith("before\n")
    assert made.endswith("after\n")
    for text in (made, in_terminal(rows)):
        assert "nginx is not installed" in text


def test_a_group_that_was_never_measured_keeps_its_place_in_the_document() -> None:
    """Its marks stay, so that the table can come."""
    document = "<!-- table: group -->\n<!-- end -->\n"
    assert with_tables(document, Result({}, "full", {})) == document


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0"), (12.345, "12.3"), (0.00123456, "0.00123"), (65_432.1, "65,400")]
)
def test_a_figure_has_three_digits(value: float, text: str) -> None:
    """More would be noise."""
    assert figure(value) == text
