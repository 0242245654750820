"""Faults injected into a swarm of real processes, and what must hold after each.

small_run.py   a run of few experts, cut out of the shipped one: a step takes milliseconds
gates.py       a proxy before every peer: the way to part a swarm without root
arena.py       the swarm under test: start, kill, freeze, look
enemy.py       a hostile peer beside the swarm, and what it sends
stranger.py    a peer that signs and serves whatever it likes
strangers.py   what such peers publish
flood.py       a run that names its authors, flooded by strangers
faults.py      one function a fault
invariants.py  what must hold after each
test_chaos.py  the short form, in `make test`
__main__.py    the long form: `make chaos`, thirty minutes of random faults and a table
"""
