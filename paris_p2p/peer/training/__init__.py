"""A slot claimed, trained and published.

- `claiming`         choosing a slot and leasing it
- `slot_search`      which slots a peer looks at, and which of them it may train
- `lease`            a slot this peer holds, while it renews
- `device`           what this machine gives to training
- `starting_points`  where training of a slot can begin: own snapshot, resume state, head, nothing
- `starting_order`   the order in which they are tried: a pure decision
- `snapshots`        the private training states of a slot: which are kept, which set aside
- `assignment`       what a training process is given
- `worker_handle`    the training process as its parent sees it
- `attempt`          training from one start: fetched, trained by a worker, published meanwhile
- `verdicts`         what a failure says about the start that was tried: a pure decision
- `training_job`     a claimed slot trained from the best start that is sound
- `unattended`       claim, train, and claim again
- `publishing`       a trainer's file becomes chunks, a signed record and DHT records
"""
