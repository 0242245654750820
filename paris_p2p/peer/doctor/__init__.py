"""Diagnosis of this machine and its peer, with remedies.

- `machine_probes`   measurements of this machine that need no peer
- `machine_checks`   rows with a state and a remedy for these measurements
- `peer_probes`      measurements that a running peer makes of itself
- `peer_checks`      rows with a state and a remedy for these measurements
- `dial_back_check`  asking other peers to dial this peer's addresses back
- `alarms`           warnings of a running node about its clock and its identity
"""
