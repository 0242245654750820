"""A swarm of thousands of peers in one thread, on a clock that jumps.

It drives the code that the peer runs (`Claimant`, `Lease`, `Outlook`, `read_claims`, and through
them `choose_expert` and `claim_winner`) and replaces only what lies around it:

    clock.py      an event loop whose time is that of the next timer; nothing sleeps
    network.py    claims in a made-up DHT: latency, loss, partitions, expiry, full keys
    world.py      what all peers share: the run, its newest heads
    peers.py      trainers that step, crash, return; Sybils and stallers
    ledger.py     who trained what and when, and what follows: held, duplicated, taken over
    scenario.py   one run: so many peers, so many experts, what goes wrong and when
    report.py     the table

    python -m simulator --peers 10000 --clusters 8 64 512 --scenario all --seed 1

The same seed gives the same result. What is assumed rather than measured (latencies, paces, how
long a shard takes to fetch) stands as named figures in `network.py` and `peers.py`.
"""
