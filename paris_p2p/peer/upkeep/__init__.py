"""The store: retention, replication, checking and eviction.

- `retention`           the contents to keep, copy and evict: pure decisions
- `holdings`            the contents of the store, the runs that name them, and the kept ones
- `store_quota`         reserving room in the quota for a fetch
- `replication`         keeping enough providers of a run's content
- `garbage_collection`  deleting superseded content, and evicting other content to make room
- `left_runs`           the runs that a home has left
- `scrubbing`           reading the store again and again to find damage
"""
