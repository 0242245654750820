"""A swarm of thousands of peers in one thread, on a clock that jumps.

The simulator runs the code of a real peer (`Claimant`, `Lease`, `SlotSearch`, `read_claims`, and
through them `choose_expert` and `claim_winner`) and replaces only its surroundings:

    clock.py      an event loop whose time jumps to the next timer; tests of peers use it, too
    network.py    claims in a simulated DHT: latency, loss, partitions, expiry, full keys
    world.py      the state that all peers share: the run, its newest heads
    peers.py      trainers that step, crash, return; Sybils and stallers
    ledger.py     who trained what and when: time held, duplicated work, takeovers
    scenario.py   one simulation: peers, experts, and what goes wrong when
    report.py     the table
    __main__.py   the command

    python -m simulator --peers 10000 --clusters 8 64 512 --scenario all --seed 1

The same seed gives the same result. Assumptions that were not measured (latencies, paces, the time
to fetch a shard) are named constants in `network.py` and `peers.py`.
"""
