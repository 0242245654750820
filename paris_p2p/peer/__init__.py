"""The actions of a peer: one module per action, related modules in one folder.

- `node`            the parts that all runs of a machine share
- `membership`      a node's part in one run, and the parts that every action in that run needs
- `joining`         joining a run by its id, and leaving it again
- `run_choice`      the runs that a home takes part in, and the one that a command means
- `serving`         the requests of other peers that a node answers
- `chunk_access`    the chunks that a node in a members-only run may give to a caller
- `life`            a node's life, from a started swarm to the withdrawal of its records
- `bootstrap`       a DHT-only peer: an address to start from, for every run
- `shipped_run`     the run that ships with the package, and taking it into a store
- `last_session`    data kept from the peer's last session: addresses, port, reachability
- `peer_exchange`   meeting more peers than the one we joined through
- `worker_process`  starting the processes that train and sample
- `jobs`            long-running work that any client can follow
- `report`          reports on a peer and its runs
- `books/`          the signed records of a run: received, kept and announced
- `transfer/`       content found by its id, fetched and verified
- `upkeep/`         the store: retention, replication, checking and eviction
- `training/`       a slot claimed, trained and published
- `sampling/`       a prompt becomes a picture
- `pipeline/`       a run becomes a folder for diffusers, and a folder a run
- `doctor/`         diagnosis of this machine and its peer, with remedies
"""
