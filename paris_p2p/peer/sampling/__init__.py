"""Drawing as a job of the peer, done by a process beside it: see `paris_p2p.sampling`.

- `sampling_job`   a request from the queue to the finished picture
- `worker_handle`  the sampling process as its parent sees it, kept warm between jobs
- `answers`        what that process may ask of its peer, checked, and what it gets
- `picture_cache`  finished pictures, until whoever asked has taken them
- `picture_file`   the file that a command writes one to: checked first, never a reason to lose it
"""
