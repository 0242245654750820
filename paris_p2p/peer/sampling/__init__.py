"""Sampling as a job of the peer, done by a separate process: see `paris_p2p.sampling`.

- `process_job`    what all jobs of the sampling process share: turn, events, questions, end
- `sampling_job`   a request, from the queue to the finished picture
- `worker_handle`  the sampling process as its parent sees it, kept warm between jobs
- `answers`        the checked answers to the questions of that process
- `picture_cache`  finished pictures, kept until the client has taken them
- `picture_file`   the file that a command writes a picture to, checked before any work is done
"""
