"""Power cuts, by enumeration: what a run did to the disk is recorded, and each state that a cut may leave is recovered.

A *scenario* runs the real writer and the real sender on a real directory, through a `Recorder` under the seam
`kmq.durable.Files`. The `Disk` replays the recording and knows at each point what is durable; `images` are the
states that POSIX allows a power cut to leave there; `recovery` starts a new sender and new apps on each, and the
oracle judges. What was promised until a cut is the `Account`'s to say.

The model is POSIX to the letter, which is less than any one file system gives: a file's bytes are durable after its
sync, a name only after the sync of its directory, and what is not synced may be there or not, each by itself.
"""
