"""The DHT node, hardened against strangers.

- `node`            searches, stores our records, gathers others'
- `search`          the next node to ask on the way to a key
- `hardening`       the calls between nodes, closed against every attack known to us
- `validator`       who may write what: signed records, strict payloads
- `record_store`    the records that a node keeps for others, within bounds
- `call_quota`      rate limits of each caller, and of all together
- `subnets`         the network a peer connects from, which one attacker's identities share
- `bounded_tables`  hivemind's tables, bounded
- `dialling`        which addresses we dial when strangers name them
- `light_hivemind`  hivemind without torch: a tenth of the time and of the memory
"""
