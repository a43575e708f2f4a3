"""What was delivered and how long it stays; how it is removed.

Owns the policy (pure) and the removal. Knows nothing about sending: what is covered is handed in.
"""

from __future__ import annotations

from .expiry import Limits, limits
from .removal import Retention

__all__ = ["Limits", "Retention", "limits"]
