"""The soak: writers, a sender and operators on one spool, killed at random for as long as asked, and judged at the end.

`account` keeps books in bounded memory, `stage` starts programs that never outlive it, `soak` says who is killed when.
"""
