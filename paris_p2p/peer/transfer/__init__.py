"""Content by its id: found, fetched, verified.

- `fetching`          content by its id from whoever provides it, verified, into one store
- `downloading`       one download, as `scheduling` decides
- `scheduling`        who is asked for which chunk next: pure decisions
- `chunk_sources`     who may be asked: liars never, those that failed less and less
- `http_seeds`        chunks from a web server that the run names
- `racing`            a least pace for a fetch, and contents that race where any of them will do
- `obtaining`         content for use on this machine: fetched within the quota, made into a file
- `head_candidates`   which heads of each slot can be had now
- `providers`         who serves what this peer may keep, and from which networks
- `proof_of_storage`  whether those who say that they serve a content do
"""
