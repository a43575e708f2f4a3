"""kmq-sender: sends what apps have put into a kmq spool to KISSmetrics, and looks after it.

Imports downward only; apps that import `kmq` never load any of it.
"""
