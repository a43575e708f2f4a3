"""What a recording would be if the code were wrong: a sync left out, or two steps in the wrong order.

Owns how a stream is rearranged. That a sync is missing changes nothing of what a process sees, so that the rest of the
recording is what it would have been.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .stream import Delivered, Removed, Settled, Synced

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .harness import Recording
    from .stream import Entry

__all__ = ["ORDERS", "SHOWN_BY", "nodes_of", "without"]


SHOWN_BY: dict[str, str] = {
    "kmq/durable.py:_write_new#1": "sender_beside_an_unsynced_app",
    "kmq/durable.py:replace#1": "sender_beside_an_unsynced_app",
    "kmq/partition.py:_publish#1": "first_append",
    "kmq/partition.py:_publish#2": "first_append",
    "kmq/partition.py:_sync_entry#1": "synced_with_rotation",
    "kmq/partition.py:make_entries_durable#1": "heir_of_one_that_died_before_its_syncs",
    "kmq/partition.py:make_entries_durable#2": "heir_of_one_that_died_before_its_syncs",
    "kmq/segment.py:sync#1": "synced_with_rotation",
    "kmq/spool.py:_make_own_parents#1": "first_append_in_the_users_own_spool",
    "kmq/spool.py:_make_spool#1": "first_append",
    "sender/reader/syncs.py:_sync_unread#1": "sender_while_the_api_is_away",
    "sender/reader/syncs.py:_sync_segment_names#1": "unsynced_heir_beside_a_sender",
    "sender/reader/syncs.py:_sync_partition_names#1": "sender_killed_after_its_rename",
    "sender/reader/segment_file.py:_sync#1": "sender_beside_an_unsynced_app",
    "sender/retention/removal.py:_clear#1": "retention",
    "sender/rejected/store.py:_append_gone#1": "rejected_commands",
    "sender/rejected/store.py:_remove#1": "rejected_file_that_is_finished",
    "sender/rejected/store.py:_remove#2": "rejected_file_that_is_finished",
    "sender/rejected/store.py:_sync_entries#1": "rejected_commands",
    "sender/rejected/store.py:_sync_entries#2": "rejected_commands",
    "sender/rejected/store.py:_sync_written#1": "rejected_commands",
}
"""Each sync, with the scenario in which its absence is seen."""


def without(recording: Recording, site: str) -> Recording:
    """Return the recording as if the sync of this site stood not in the code."""
    return recording.changed([e for e in recording.stream if not _is_sync(e, (site,))])


def nodes_of(recording: Recording, site: str) -> frozenset[int]:
    """Return what this site syncs."""
    return frozenset(
        entry.node for entry in recording.stream if isinstance(entry, Synced) and entry.site == site
    )


def rename_before_the_new_file_is_synced(recording: Recording) -> Recording:
    """Write, rename, and only then sync what was renamed."""
    return _deferred(
        recording,
        ("kmq/durable.py:_write_new#1",),
        lambda entry: _is_sync(entry, ("kmq/durable.py:replace#1",)),
    )


def checkpoint_before_the_segments_are_synced(recording: Recording) -> Recording:
    """Make the checkpoint durable, and then what it covers."""
    segments = [s for s in recording.sites() if s.startswith("sender/reader/")]
    return _deferred(recording, segments, lambda entry: isinstance(entry, Settled))


def checkpoint_before_what_was_rejected_is_synced(recording: Recording) -> Recording:
    """Make the checkpoint durable, and then what was rejected below it."""
    rejected = [s for s in recording.sites() if s.startswith("sender/rejected/store.py:_sync_")]
    return _deferred(recording, rejected, lambda entry: isinstance(entry, Settled))


def segment_removed_before_the_commit(recording: Recording) -> Recording:
    """Remove a segment when its commands have been answered, and not when a commit has passed them."""
    stream: list[Entry] = []
    for entry in recording.stream:
        if isinstance(entry, Removed) and entry.name[:1].isdigit():
            stream.insert(_last_answer(stream), entry)
        else:
            stream.append(entry)
    return recording.changed(stream)


ORDERS: dict[str, tuple[str, Callable[[Recording], Recording]]] = {
    "rename before the sync of the new file": (
        "sender_beside_an_unsynced_app",
        rename_before_the_new_file_is_synced,
    ),
    "checkpoint before the sync of the segments": (
        "sender_beside_an_unsynced_app",
        checkpoint_before_the_segments_are_synced,
    ),
    "checkpoint before the sync of rejected/": (
        "rejected_commands",
        checkpoint_before_what_was_rejected_is_synced,
    ),
    "removal of a segment before the commit": ("retention", segment_removed_before_the_commit),
}
"""Each wrong order, with the scenario that shows it."""


def _deferred(
    recording: Recording, sites: Sequence[str], until: Callable[[Entry], bool]
) -> Recording:
    stream: list[Entry] = []
    held: list[Entry] = []
    for entry in recording.stream:
        if _is_sync(entry, sites):
            held.append(entry)
            continue
        if until(entry):
            stream += held
            held = []
        stream.append(entry)
    return recording.changed(stream + held)


def _is_sync(entry: Entry, sites: Sequence[str]) -> bool:
    return isinstance(entry, Synced) and entry.site in sites


def _last_answer(stream: list[Entry]) -> int:
    """Return the place behind the last answer before the last commit."""
    commits = [at for at, entry in enumerate(stream) if isinstance(entry, Settled)]
    answers = [at for at, entry in enumerate(stream[: commits[-1]]) if isinstance(entry, Delivered)]
    return answers[-1] + 1
