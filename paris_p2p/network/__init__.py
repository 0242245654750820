"""How peers meet, tell each other things, and move bytes. The only part that knows hivemind.

- `swarm`            the contract everything above relies on: records, streams, bounds
- `memory`           the contract inside one process, for tests and simulations
- `memory_streams`   its streams
- `hivemind_swarm`   the contract on libp2p and the hivemind DHT: what a running peer uses
- `host`             p2pd and the DHT node on it, kept alive; the streams through them
- `healing`          joining the swarm, and staying in it whatever happens
- `own_records`      what we say in the DHT, and saying it again where it lacks
- `key_pages`        sets of owners too wide for one key, spread over a tree of keys
- `chunk_protocol`   many hashed chunks over one stream
- `clock`            the time protocol: how far our clock is off the swarm's
- `stream_permits`     whom we serve when not everybody can be served
- `token_bucket`     a rate kept in the long run, with a burst after a rest
- `pacing`           rate limits, fair between peers
- `private_swarm`    who knows the swarm's key is answered
- `swarm_key`        that key, and its file
- `allowlist`        runs that list their members: the others do not exist
- `open_files`       how many files and connections may be open
- `periodic`         work done every so many seconds, whatever fails; clocks that jump
- `tasks`            ending asyncio tasks for certain
- `p2pd/`            the libp2p daemon: its process, its sockets
- `dht/`             the DHT node, closed against what strangers send
- `reach/`           who can reach us, and through whom

No torch, no disk beyond the identity file libp2p reads, no decisions about experts or runs.
"""
