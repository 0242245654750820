"""The figures the README quotes, one command each: `python -m bench.NAME`.

- `startup`     seconds to help, to status, to a joined peer; memory of an idle peer
- `transfer`    speed of content between processes, compared with libp2p, libtorrent and aria2
- `provider`    the process that serves the file of `transfer`
- `rivals`      the other programs that `transfer` compares with
- `swarm`       many real peers on one machine: join, store, lookup, publish, idle
- `dht_peer`    one peer of `swarm`
- `bootstrap`   memory of a bootstrap under load
- `sampling`    seconds from a command to its picture
- `strategies`  which sampling strategy and guidance scale give the concept asked for
- `samplers`    which sampler needs how many steps for it
- `routing`     what the router knows by the picture, by the caption and by both; what it is worth
- `recipes`     prompts right and held-out loss: from scratch, from a common start, one model
- `pictures`    the real pictures that `routing` and `recipes` look at
- `chart`       line charts for `routing`
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The checkout. Its packages are not installed, so child processes get this path."""
