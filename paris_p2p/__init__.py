"""Decentralised training of a text-to-image diffusion model: experts that never meet, one swarm.

A run is cut into clusters. Peers claim an expert each, train it with no network at all, and publish
signed checkpoints; anyone fetches the experts and the router, and samples from their mixture.

The map, each line importing only from those below it:

    cli        one command, one file: parses, calls the local API, prints
    api        the local HTTP API of a running peer, and its client
    peer       the verbs: claiming, publishing, fetching, replicating, sampling
    training   a generator of steps in a process without network
    sampling   from a prompt and fetched experts to a picture, in a process without network
    data       from captioned images to shards
    model      experts, router, mixture, sampler (torch)
    network    the swarm: DHT records and chunk streams (hivemind, and an in-process twin)
    store      content on disk, named by its BLAKE3
    key_backup a key as a file that a passphrase opens
    config     what the user chose: TOML, environment, flags
    records    what peers say: pure data and pure decisions
    identity   one Ed25519 key: PeerID, author, signer
    home       the folder a peer owns, and its lock
    files      writing files in one step, lock files
    child      how a Python process of ours is started
    errors     what can go wrong, what to do about it, the exit code
"""

__version__ = "0.1.0"
