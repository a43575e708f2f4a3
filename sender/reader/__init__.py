"""The source of the sender: lines of the spool with their positions, each exactly once and in order.

Owns reading: which segments there are, where a line ends, what is torn, and the descriptors that a
checkpoint's syncs go through. Knows nothing about what a line says or what becomes of it.
"""

from __future__ import annotations

from .spool_reader import SpoolReader

__all__ = ["SpoolReader"]
