"""All scenarios."""

from __future__ import annotations

from . import scenarios_again, scenarios_apps, scenarios_sender
from .registry import SCENARIOS

__all__ = ["SCENARIOS"]

_ = (scenarios_apps, scenarios_sender, scenarios_again)  # they register
