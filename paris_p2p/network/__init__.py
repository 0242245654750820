"""How peers meet, tell each other things, and move bytes. The only part that knows hivemind.

    swarm.py      the contract everything above relies on: records, streams, bounds
    memory.py     the contract inside one process, for tests and simulations
    memory_streams.py  its streams
    node.py       the contract on libp2p and the hivemind DHT: what a running peer uses
    daemon.py     one p2pd: what is asked of it, its streams, its death
    p2pd.py       the process itself: how it begins and ends
    socket_folder.py  where its sockets lie, and sweeping up after who was killed
    host.py       p2pd and the DHT node on it, kept alive; the streams through them
    own_records.py  what we say in the DHT, and saying it again where it lacks
    healing.py    joining the swarm, and staying in it whatever happens
    standing.py   who can reach us, and what follows: hiding, relays, p2pd's mode
    witnesses.py  what other peers find at our door, and what to believe of it
    relays.py     the relays through which an unreachable peer is reached
    self_test.py  whether the relay that we are ourselves carries enough
    circuit.py    a place at a relay, asked for by hand, and addresses over it
    reach.py      the words for all that
    knock.py      is anybody there, before libp2p is sent to dial
    listening.py  which port, and which addresses to tell others
    dht.py        the DHT node: searches, spreads our records, gathers others'
    hardening.py  what nodes say to each other, closed against every attack known to us
    search.py     whom to ask next on the way to a key
    validator.py  who may write what: signed records, strict payloads
    membership.py private swarms: who knows the key is answered
    swarm_key.py  that key, and its file
    allowlist.py  runs that list their members: the others do not exist
    shelf.py      what a DHT node keeps for others, within bounds
    places.py     whom we serve when not everybody can be served
    quota.py      what a peer may ask of us, and all of them together
    origins.py    which network a peer comes from: what identities of one hand have in common
    bounded.py    hivemind's tables, bounded
    dialling.py   which addresses we dial when strangers name them
    pages.py      sets of owners too wide for one key, spread over a tree of keys
    wire.py       the chunk protocol: many hashed chunks over one stream
    pacing.py     rate limits, fair between peers
    pipe.py       a local socket with few copies and wake-ups
    open_files.py how many files and connections may be open
    tasks.py      ending asyncio tasks for certain
    clock.py      the time protocol: how far our clock is off the swarm's
    dialback.py   the dial-back protocol: which of our addresses lead to us from outside
    handshake.py  who answers at an address, proven without p2pd and without an identity
    lite.py       hivemind without torch: a tenth of the time and of the memory

No torch, no disk beyond the identity file libp2p reads, no decisions about experts or runs.
"""
