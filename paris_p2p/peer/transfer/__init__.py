"""Content found by its id, fetched and verified.

- `fetching`          fetching content by its id from its providers into one store
- `downloading`       one download, as `scheduling` decides
- `scheduling`        the next chunk to ask of each source: pure decisions
- `chunk_sources`     sources and their reputation
- `http_seeds`        chunks from a web server that the run names
- `racing`            a least pace for a fetch, and a race between alternative contents
- `obtaining`         content for use on this machine: fetched within the quota, made into a file
- `head_candidates`   the heads of each slot that are available now
- `providers`         the providers of content that this peer may keep, and their networks
- `proof_of_storage`  the check that a provider holds the content that it announces
"""
