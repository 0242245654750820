"""A prompt becomes a picture, in a process that knows no network.

- `request`   what is asked to be drawn, checked before anything is loaded or fetched
- `ensemble`  the router and the experts it calls for, and what they draw
- `contents`  where the files come from
- `networks`  those that were built, kept for the next prompt
- `pictures`  PNG with provenance, alone or as a contact sheet
- `worker`    the process: jobs in, events and questions out, one JSON object a line

`request` and `worker` know no torch until there is something to draw. Nothing here knows the
network, the store or the peer: `worker` asks its parent for files.
"""
