"""What can never be delivered, kept in `rejected/` and never dropped.

Owns the form of those lines, their ids and files, who may append when, and sending them again.
Knows nothing about why something was rejected.
"""

from __future__ import annotations

from .rejection import New, Rejection
from .store import RejectedStore

__all__ = ["New", "RejectedStore", "Rejection"]
