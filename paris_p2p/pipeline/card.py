"""The README.md of a pipeline folder, in the form of a model card, and its provenance."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import paris_p2p
from paris_p2p.records.run import RunManifest, slot_name

Head = Mapping[str, Any]
"""A head as a peer tells of it: "author", "step", "held_out_loss", "manifest" and more."""

KEPT = ("author", "step", "images", "train_loss", "held_out_loss", "manifest", "created")


def provenance_of(run: RunManifest, run_id: bytes, heads: Mapping[int, Head]) -> dict[str, Any]:
    """Where the networks come from. A "manifest" is the content id of the slot's weights file."""
    return {
        "made_by": f"paris-p2p {paris_p2p.__version__}",
        "run": {"name": run.name, "id": run_id.hex(), "created": run.created},
        "heads": {
            slot_name(slot): {name: head[name] for name in KEPT if name in head}
            for slot, head in sorted(heads.items())
        },
    }


def card_of(run: RunManifest, run_id: bytes, heads: Mapping[int, Head]) -> str:
    """The model card."""
    return CARD.format(
        title=json.dumps(f"{run.name} (paris-p2p)"),
        name=_inline(run.name),
        id=run_id.hex(),
        experts=run.clusters,
        rows="\n".join(_rows(run, heads)),
    )


def _rows(run: RunManifest, heads: Mapping[int, Head]) -> Iterator[str]:
    for slot in run.slots():
        name, head = slot_name(slot), heads.get(slot)
        if head is None:
            yield f"| {name} | missing: nobody had it | | |"
        else:
            yield f"| {name} | `{head['author']}` | {head['step']} | {loss_of(head)} |"


def loss_of(head: Head) -> str:
    """A head's held-out loss in words. Step 0 is an import, whose loss was never measured here."""
    return f"{head['held_out_loss']:.4f}" if head["step"] else "imported"


def _inline(text: str) -> str:
    """A stranger's text as code in Markdown, which cannot end it."""
    return f"`{text.replace('`', chr(39))}`"


CARD = """\
---
library_name: diffusers
pipeline_tag: text-to-image
license: other
model_name: {title}
---

# {name}

{experts} experts, each trained in isolation on one cluster of the data, and a router that mixes
them: Paris (arXiv 2510.03434) by peers of paris-p2p. This is one moment of the run
`{id}`.

```python
from diffusers import DiffusionPipeline

pipe = DiffusionPipeline.from_pretrained("THIS FOLDER", trust_remote_code=True)
pipe("a prompt", seed=0).images[0].save("picture.png")
```

The picture is that of `paris-peer fetch-and-sample "a prompt" --seed 0 --scale 1`. The call takes
`num_inference_steps`, `guidance_scale`, `num_images_per_prompt`, `strategy` ("once", "top-1",
"top-2", "threshold", "full"), `top_k` and `guidance_routing` ("shared", "own"). The scheduler may
be replaced by any of diffusers' that takes `use_flow_sigmas`, or `FlowMatchEulerDiscreteScheduler`.
One expert alone: `PixArtTransformer2DModel.from_pretrained("THIS FOLDER", subfolder="expert_0")`.
If ftfy is installed, the run's own tokenizer repairs broken text in prompts with it.

| slot | author | step | held-out loss |
|---|---|---|---|
{rows}

`provenance.json` names the content of every checkpoint. Steps and losses are their authors' word.

**Licence.** A run's manifest names no licence. The weights were made by the authors above from data
that others own: ask whoever made the run before you pass this folder on. The Python modules here
are part of paris-p2p (MIT).
"""
