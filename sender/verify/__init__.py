"""A check of the whole spool that changes nothing.

Owns what is checked and what counts as damage. Knows nothing about how findings are printed.
"""

from __future__ import annotations

from .findings import Finding, Report
from .spool_check import verify

__all__ = ["Finding", "Report", "verify"]
