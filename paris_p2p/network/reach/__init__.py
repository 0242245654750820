"""Reachability: whether others can dial us, and the relays if not.

- `reachability`        our reachability, and its effects: hiding, relays, p2pd's mode
- `reachability_types`  the types for it
- `witnesses`           the dial-backs of several peers, and what to believe of them
- `dial_back`           the dial-back protocol: which of our addresses work from outside
- `dial_back_client`    asking one peer to dial us back
- `handshake`           the proven key of a peer at an address, without p2pd or an identity
- `tcp_probe`           a TCP check of an address before libp2p dials it
- `relays`              the relays through which an unreachable peer is reached
- `relay_reservation`   relay reservations, made without p2pd, and relayed addresses
- `relay_self_test`     whether our relay carries enough
"""
