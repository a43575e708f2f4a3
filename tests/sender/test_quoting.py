"""Quoted text: the standard library's form for every text, and no more remembered than is allowed."""

from __future__ import annotations

from urllib.parse import quote_plus

from hypothesis import given
from hypothesis import strategies as st

from sender.quoting import MAX_REMEMBERED, Remembered, quoted

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@given(TEXTS | st.text(st.characters(codec="ascii")))
def test_a_text_is_quoted_as_the_standard_library_does(text: str) -> None:
    """ASCII or not."""
    assert quoted(text) == quote_plus(text)


@given(st.lists(TEXTS))
def test_what_is_remembered_is_what_is_made(texts: list[str]) -> None:
    """The first time and again, long or short."""
    remembered = Remembered(quoted)
    for text in [*texts, *reversed(texts)]:
        assert remembered[text] == quote_plus(text)


def test_a_form_is_made_once() -> None:
    """What repeats is found."""
    made = []

    def form(text: str) -> str:
        made.append(text)
        return text

    remembered = Remembered(form)
    assert [remembered["Signed Up"], remembered["Signed Up"]] == ["Signed Up", "Signed Up"]
    assert made == ["Signed Up"]


def test_what_is_remembered_is_bounded_in_number() -> None:
    """A million people leave no more behind than a few thousand."""
    remembered = Remembered(quoted)
    most = 0
    for number in range(3 * MAX_REMEMBERED):
        assert remembered[f"person {number}"] == f"person+{number}"
        most = max(most, len(remembered))
    assert most == MAX_REMEMBERED


def test_what_is_long_is_not_remembered() -> None:
    """Neither a long text nor one whose form is long: what is remembered is bounded in bytes too."""
    remembered = Remembered(quoted)
    for text in ("x" * 129, "é" * 22):
        assert remembered[text] == quote_plus(text)
    assert not remembered
    assert remembered["x" * 128]
    assert len(remembered) == 1
