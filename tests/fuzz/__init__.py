"""The fuzz target: hostile inputs without end against whatever reads what others wrote.

    python -m tests.fuzz --inputs N [--seed S] [--jobs J] [--only TARGET]

`values` makes what is valid, `mutations` spoils it, each target (`lines`, `segments`, `checkpoints`, `answers`, `wire`,
`rejections`, `trackings`) hands it to the code and judges what came of it by its own few lines. `worker` is a process
that tries inputs, `boss` starts workers and sees one that hangs. An input is known by its seed and its number alone.
"""
