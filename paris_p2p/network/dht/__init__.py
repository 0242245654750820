"""The DHT node, closed against what strangers send.

- `node`            searches, spreads our records, gathers others'
- `search`          whom to ask next on the way to a key
- `hardening`       what nodes say to each other, closed against every attack known to us
- `validator`       who may write what: signed records, strict payloads
- `record_store`    what a DHT node keeps for others, within bounds
- `call_quota`      what a peer may ask of us, and all of them together
- `subnets`         which network a peer comes from: what identities of one hand have in common
- `bounded_tables`  hivemind's tables, bounded
- `dialling`        which addresses we dial when strangers name them
- `light_hivemind`  hivemind without torch: a tenth of the time and of the memory
"""
