"""Answering otherwise: the form, and how long it holds."""

from __future__ import annotations

import json

import pytest

from sender.collector.moods import Mood, Moods, WrongForm, mood_of


class Clock:
    """A clock that stands still until it is moved."""

    now = 100.0

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self.now


def test_without_a_mood_the_api_is_imitated() -> None:
    """Nothing was asked for."""
    assert Moods().take() is None


def test_a_count_holds_for_so_many_requests() -> None:
    """Three are asked for, the fourth is answered as the API does."""
    moods = Moods()
    moods.set(Mood(503, count=3))
    assert [mood and mood.status for mood in (moods.take() for _ in range(5))] == [
        503,
        503,
        503,
        None,
        None,
    ]


def test_a_time_holds_until_it_has_passed() -> None:
    """The end itself is past it."""
    clock = Clock()
    moods = Moods(clock)
    moods.set(Mood(503, for_s=10.0))
    clock.now = 109.9
    assert moods.take() == Mood(503, for_s=10.0)
    clock.now = 110.0
    assert moods.take() is None


def test_of_count_and_time_the_first_to_end_ends_it() -> None:
    """Both may be given."""
    clock = Clock()
    moods = Moods(clock)
    mood = Mood(503, count=2, for_s=10.0)
    moods.set(mood)
    assert (moods.take(), moods.take(), moods.take()) == (mood, mood, None)
    moods.set(mood)
    clock.now = 111.0
    assert moods.take() is None


def test_a_mood_without_an_end_stays_until_it_is_cleared_or_replaced() -> None:
    """The newest one holds, alone."""
    moods = Moods()
    moods.set(Mood(503, count=1))
    moods.set(Mood(429))
    assert {moods.take() for _ in range(100)} == {Mood(429)}
    moods.clear()
    assert moods.take() is None


def test_an_empty_form_is_no_mood() -> None:
    """It goes back to answering as the API does."""
    assert mood_of({}) is None


def test_a_form_may_have_every_field() -> None:
    """Each ends up where it belongs."""
    form = {
        "status": 503,
        "drop": False,
        "delay_s": 0.2,
        "count": 3,
        "for_s": 10,
        "retry_after": 7,
        "location": "/login",
        "body": "<html>",
        "content_type": "text/html",
    }
    assert mood_of(form) == Mood(503, False, 0.2, 3, 10, 7, "/login", "<html>", "text/html")  # noqa: FBT003 - in the form's order


@pytest.mark.parametrize("form", [{"delay_s": 1}, {"drop": True}, {"status": 200, "count": 1}])
def test_a_mood_that_only_delays_or_drops_says_nothing_about_the_answer(
    form: dict[str, object],
) -> None:
    """Then the answer stays what it would have been."""
    mood = mood_of(form)
    assert mood is not None
    assert not mood.speaks


@pytest.mark.parametrize(
    "form",
    [{"status": 204}, {"retry_after": 0}, {"location": "/"}, {"body": ""}, {"content_type": "a/b"}],
)
def test_a_mood_that_says_anything_about_the_answer_makes_it(form: dict[str, object]) -> None:
    """Even an empty body is said."""
    mood = mood_of(form)
    assert mood is not None
    assert mood.speaks


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("status", [199, 600, 503.0, "503", True, None]),
        ("drop", [1, "true", None]),
        ("delay_s", [-1, 86_401, "1", True, None, float("nan"), float("inf")]),
        ("count", [0, -1, 1.5, True, None]),
        ("for_s", [-0.1, "10s", [], None]),
        ("retry_after", [-1, 1.5, "soon", None]),
        ("location", ["", "/é", "/\r\nx: y", 1, None]),
        ("body", [1, None, "x" * 65_537]),
        ("content_type", ["", "text/html\n", None]),
    ],
)
def test_a_wrong_value_is_refused_naming_the_field_the_value_and_what_is_allowed(
    field: str, wrong: list[object]
) -> None:
    """Whoever asked can mend it from the message alone."""
    for value in wrong:
        with pytest.raises(WrongForm, match=f"^{field} is ") as caught:
            mood_of({field: value})
        assert repr(value)[:60] in str(caught.value)
        assert "must be" in str(caught.value)
        assert len(str(caught.value)) < 200


@pytest.mark.parametrize("form", [[], None, "503", 503, True])
def test_a_form_that_is_no_object_is_refused_naming_the_fields(form: object) -> None:
    """JSON has other values too."""
    with pytest.raises(WrongForm, match="status, drop, delay_s"):
        mood_of(form)


def test_an_unknown_field_is_refused_naming_those_there_are() -> None:
    """A misspelt field must not silently mean 200."""
    with pytest.raises(WrongForm, match="'delay' is no field: there are status, drop, delay_s"):
        mood_of({"delay": 1})


def test_dropping_and_answering_at_once_is_refused() -> None:
    """A closed connection has no status."""
    with pytest.raises(WrongForm, match="leave out body, status"):
        mood_of({"drop": True, "status": 503, "body": ""})


def test_not_a_number_as_json_reads_it_is_refused() -> None:
    """Python's json takes NaN, against the standard."""
    with pytest.raises(WrongForm):
        mood_of(json.loads('{"delay_s": NaN}'))
