"""From lines to commands that are done: order, window, retries, and the low-water mark.

Owns everything between a source and a sink. Knows nothing about either.
"""

from __future__ import annotations

from .dispatcher import Dispatcher, Window
from .gate import GateState

__all__ = ["Dispatcher", "GateState", "Window"]
