"""What is wrong with this machine or its peer, and what helps.

- `machine_probes`   what can be measured of this machine without a peer
- `machine_checks`   what these measurements mean
- `peer_probes`      what a running peer measures of itself
- `peer_checks`      what measurements mean: rows with a state and a remedy
- `dial_back_check`  which of this peer's addresses lead to it: asking others to dial back
- `alarms`           what the user of a running node has to know: its clock, its identity
"""
