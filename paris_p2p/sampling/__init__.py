"""Turns prompts into pictures, and runs into folders, in a process without network access.

- `request`   a sampling request, checked before anything is loaded or fetched
- `ensemble`  samples with the router and the experts that it selects
- `checkpoints`  the network of each slot, from its best head that proves sound
- `exporting` writes the run as a folder for diffusers
- `contents`  where a run's files come from
- `networks`  keeps built networks for the next prompt
- `pictures`  PNG with provenance, alone or as a contact sheet
- `worker`    the process: jobs in, events and questions out, one JSON object a line

`request` and `worker` do not import torch at module level. No module here imports the network, the
store or the peer: `worker` asks its parent for files.
"""
