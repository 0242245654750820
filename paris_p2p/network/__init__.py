"""How peers find each other, publish records and exchange bytes. Only this package uses hivemind.

- `swarm`              the contract everything above relies on: records, streams, bounds
- `in_memory_swarm`    the contract inside one process, for tests and simulations
- `in_memory_streams`  its streams
- `hivemind_swarm`     the contract on libp2p and the hivemind DHT, as a running peer uses it
- `host`               p2pd and the DHT node on it, kept alive; the streams through them
- `healing`            joining the swarm, and staying in it
- `own_records`        storing our records in the DHT, and storing them again when nodes change
- `key_pages`          sets of owners too wide for one key, spread over a tree of keys
- `chunk_protocol`     many hashed chunks over one stream
- `clock`              the time protocol: how far our clock is off the swarm's
- `stream_permits`     which streams are served when there are too many
- `token_bucket`       a rate limit that allows bursts
- `pacing`             rate limits, fair between peers
- `private_swarm`      the handshake by which members prove that they know the swarm key
- `swarm_key`          that key, and its file
- `allowlist`          a swarm reduced to the members that a run lists
- `open_files`         how many files and connections may be open
- `periodic`           periodic work that survives failures; clocks that jump
- `tasks`              ending asyncio tasks for certain
- `p2pd/`              the libp2p daemon: its process, its sockets
- `dht/`               the DHT node, hardened against strangers
- `reach/`             reachability, dial-back and relays

No torch, no disk beyond the identity file libp2p reads, no decisions about experts or runs.
"""
