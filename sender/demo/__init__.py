"""The demo: a collector, a sender and four writers on this machine, and what happens to them.

    telling    what the show says, and to whom
    children   processes of its own: started, killed, and none left
    stand_in   the collector, as the show drives it
    writer     what one of the four processes does
    account    what was acknowledged against what arrived; pure
    lines      the first act: KISSmetrics' common methods and the requests that they become
    stage      the folder, the parts, and all waiting
    show       all acts, in their order

Each knows only what stands above it. The command line alone knows the demo.
"""
