"""A run as a folder that diffusers loads, and such a folder as a run: torch, no network, no store.

- `layout`       the names in such a folder
- `writing`      a run's networks into a new folder
- `card`         its README.md and its provenance
- `code`         the modules that the folder carries
- `reading`      a folder, written here or elsewhere, into the contents of a run
- `encoders_in`  its encoders
- `files_in`     its files: bounded, never pickled

`layout` does not import torch.
"""
