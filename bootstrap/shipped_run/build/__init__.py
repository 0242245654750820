"""How the shipped run's artefacts were made, from the art to the shards.

Run in this order, from the repository's root, after `pip install -e '.[data]'`; each step
writes aside and renames, and reads only what the steps before it wrote. The same seed gives the
same file; for the two trainings on the same kind of processor with the same number of threads. What
ships was trained with `--bf16`.

| step | makes | from |
|---|---|---|
| `dataset` | `emoji.parquet` | five npm packages |
| `autoencoder` | `autoencoder.safetensors` | `emoji.parquet` |
| `clip` | `clip.safetensors` | `emoji.parquet` |
| `shards` | `shards/`, `clusters.json` | all of the above |
| `base` | `base.safetensors` | `shards/`, `clip.safetensors` |
| `run` | `run.paris`, with a new id | all of the above |
| `heads train`, then `collect` | `heads/` | the run, by a swarm |

None of it is needed to use the project: what they make is committed beside this folder.
"""

from pathlib import Path

SHIPPED = Path(__file__).resolve().parent.parent
"""The folder that holds the shipped run's artefacts."""
