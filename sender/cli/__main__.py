"""`python -m sender.cli`: the same as `kmq-sender`, for whoever starts it by its interpreter."""

from __future__ import annotations

from sender.cli import main

main()
