"""Training one slot of a run, expert or router, in a process that has no network.

| module | what it does |
|---|---|
| `recipes` | named sizes and their training settings |
| `job` | the task of a worker: paths, sizes, limits |
| `samples` | a shard's samples: memory-mapped latents, and the held-out probes |
| `captions` | its captions: encoded once where they fit in memory, else by batch |
| `pooled_captions` | captions for the router: pooled, and with a word exchanged |
| `trainer` | the loop: a generator of steps, with snapshots and checkpoints |
| `worth` | whether a state is worth training on, by its held-out loss |
| `watch` | what the loop monitors: limits, divergence, speed |
| `expert`, `router` | the training step of each of the two |
| `snapshot` | the exact training state, in one file |
| `phases` | the phases besides steps, told so that none is silent |
| `offline` | cuts the process off from the network |
| `devices` | the devices besides the processor that torch can train on |
| `worker` | the process: a job file in, JSON lines out |

A **snapshot** is private and exact. A **checkpoint** is published: the EMA weights in bf16.
A **resume state** is a snapshot that is published, less often, for a peer that takes over. Nothing
here knows the network, the store or the peer.
"""
