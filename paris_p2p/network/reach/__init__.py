"""Who can reach us, and through whom.

- `reachability`        who can reach us, and what follows: hiding, relays, p2pd's mode
- `reachability_types`  the words for that
- `witnesses`           what other peers find at our door, and what to believe of it
- `dial_back`           the dial-back protocol: which of our addresses lead to us from outside
- `handshake`           who answers at an address, proven without p2pd and without an identity
- `tcp_probe`           is anybody there, before libp2p is sent to dial
- `relays`              the relays through which an unreachable peer is reached
- `circuit`             a place at a relay, asked for by hand, and addresses over it
- `relay_self_test`     whether the relay that we are ourselves carries enough
"""
