"""Exports a run: every network tried, then written into a new folder for diffusers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from paris_p2p.errors import NotAvailable
from paris_p2p.files import folder_atomically
from paris_p2p.pipeline.writing import Moment, write_folder
from paris_p2p.records.run import ROUTER
from paris_p2p.sampling.ensemble import Ensemble


def export(ensemble: Ensemble, folder: Path, on_part: Callable[[int, int], None]) -> list[int]:
    """Write the run as `folder`, which appears complete or not at all; returns its experts.

    An expert that nobody has is left out with a warning. NotAvailable when there is none at all.
    `on_part` gets (parts done, parts in all); it may raise to stop.
    """
    run, checkpoints = ensemble.run, ensemble.checkpoints
    experts = []
    for expert in range(run.clusters):
        on_part(expert, run.clusters)
        if ensemble.prove(expert):
            experts.append(expert)
    if not experts:
        raise NotAvailable("no expert of this run is available", "wait for a peer to publish one")
    slots = [*experts, ROUTER]
    moment = Moment(
        run=run,
        run_id=ensemble.run_id,
        files={slot: checkpoints.file(slot) for slot in slots},
        heads={slot: checkpoints.used[slot] for slot in slots},
        text_encoder=ensemble.text_encoder,
        autoencoder=ensemble.autoencoder,
    )
    with folder_atomically(folder) as aside:
        write_folder(aside, moment, on_part)
    return experts
