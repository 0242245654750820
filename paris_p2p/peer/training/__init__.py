"""A slot claimed, trained and published.

- `claiming`         choosing a slot and leasing it
- `slot_search`      the slots that a peer looks at, and those that it may train
- `lease`            the lease on a slot, renewed while training advances
- `device`           the device that this machine trains on
- `starting_points`  the starts of a slot's training: own snapshot, resume state, head, scratch
- `starting_order`   the order in which the starts are tried: a pure decision
- `snapshots`        the private training states of a slot: kept or set aside
- `assignment`       the contents and the job of a training process
- `worker_handle`    the training process as its parent sees it
- `attempt`          training from one start: fetching, the worker, publishing
- `verdicts`         the consequence of a failure for the start that was tried: a pure decision
- `training_job`     a claimed slot trained from the best sound start
- `unattended`       claiming and training again and again
- `publishing`       a trainer's file becomes chunks, a signed record and DHT records
"""
