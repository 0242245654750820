"""Training one slot of a run, expert or router, in a process that knows no network.

| module | what it does |
|---|---|
| `recipes` | named sizes with settings that suit them |
| `job` | what a worker is asked to do: paths, sizes, limits |
| `samples` | shards in memory: latents, captions encoded once, the held-out probes |
| `trainer` | the loop: a generator of steps, with snapshots and checkpoints |
| `worth` | whether a state is worth training on, by its held-out loss |
| `watch` | what the loop keeps an eye on: limits, divergence, speed |
| `expert`, `router` | what a step is for each of the two |
| `snapshot` | everything needed to continue as if never stopped, in one file |
| `offline` | makes sure that the process cannot reach a network |
| `devices` | what torch can train on besides the processor |
| `worker` | the process: a job file in, JSON lines out |

A **snapshot** is private and exact. A **checkpoint** is published: the averaged weights in bf16.
A **resume state** is a snapshot published, less often, for whoever takes over. Nothing here knows
the network, the store or the peer.
"""
