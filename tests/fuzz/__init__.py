"""Whatever arrives: millions of inputs that no honest peer would send, at every reader there is.

    mutate.py         how inputs are made: bytes bent at random, values bent and encoded again
    target.py         what an attack is, and the loop that carries out many
    records.py        the record codec, every sealed record, announcements, manifests
    text.py           multiaddrs, configuration files, remembered peers
    node.py           the DHT node: its requests, the answers it reads, its tables
    conversations.py  the chunk protocol, both sides, over the streams of the memory network
    proofs.py         certificates, members, dial-back, backups, swarm keys
    http.py           the local API, with and without the token
    tensors.py        weights, shards and snapshots; the only one that needs torch

Each input follows from (seed, target, number) alone, so a failure is repeated by its number:

    python -m tests.fuzz --inputs 1000000
    python -m tests.fuzz --target "record codec" --number 4711

A reader may refuse an input with the error it declares, and with nothing else. It may not take
long, and after all of them the process may not have grown.
"""
