"""Each rule of the design, removed once.

Owns the table (`*.toml`), how a mutant is tried, and the part of docs/reliability.md that is made of it.
"""
