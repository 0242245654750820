"""What a peer does: one verb, one module; what belongs together shares a room.

- `node`           what a machine has once, however many runs it takes part in
- `membership`     a node's part in one run, and what every verb of that run needs of it
- `joining`        taking part in a run, from its id to a membership, and leaving it again
- `run_choice`     which runs a home takes part in, and which of them is meant
- `serving`        what a node answers other peers
- `chunk_access`   who may have which chunk of a node in a run for its members only
- `life`           from a started swarm to the withdrawal of what the node said
- `bootstrap`      a DHT-only peer: an address to start from, for every run
- `shipped_run`    the run that ships with the package, and taking it into a store
- `last_session`   what the peer's last session left: known addresses, port, reachability
- `peer_exchange`  getting to know more peers than the one we joined through
- `jobs`           work that takes time, followed by whoever asks
- `report`         what a peer tells about the run and itself
- `books/`         what is known of the run: signed records, heard, kept and announced
- `transfer/`      content by its id: found, fetched, verified
- `upkeep/`        the store: what is kept, copied for others, checked and let go
- `training/`      a slot claimed, trained and published
- `sampling/`      a prompt becomes a picture
- `doctor/`        what is wrong with this machine or its peer, and what helps
"""
