"""The store: what is kept, copied for others, checked and let go.

- `retention`           what to keep, copy and let go: pure decisions
- `holdings`            what lies in the store, which runs name it, and what of it is kept
- `store_quota`         room in the quota for what is about to be fetched
- `replication`         keeping a run's content at enough providers
- `garbage_collection`  letting go what is superseded, or what others hold when room is needed
- `left_runs`           the runs that a home took part in before
- `scrubbing`           reading the store again and again, so that damage is found
"""
