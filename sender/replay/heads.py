"""What the first bytes of a file say of its form, where that is not the one which can be replayed.

Owns the forms that are met in practice, and how each becomes lines. Pure.
"""

from __future__ import annotations

from typing import Final

__all__ = ["hint"]

_BY_HEAD: Final = (
    (b"\x1f\x8b", "it is compressed: zcat FILE | kmq-sender replay -"),
    (
        b"\xef\xbb\xbf",
        "it begins with a byte order mark: tail -c +4 FILE | kmq-sender replay -",
    ),
    (b"\xff\xfe", "it is UTF-16: iconv -f UTF-16 -t UTF-8 FILE | kmq-sender replay -"),
    (b"\xfe\xff", "it is UTF-16: iconv -f UTF-16 -t UTF-8 FILE | kmq-sender replay -"),
)


def hint(head: bytes) -> str | None:
    r"""Return what is to be done with a file that begins with `head`, or None where nothing can be told.

    >>> hint(b"\x1f\x8b\x08")
    'it is compressed: zcat FILE | kmq-sender replay -'
    """
    return next((words for mark, words in _BY_HEAD if head.startswith(mark)), None)
