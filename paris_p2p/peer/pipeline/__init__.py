"""Runs as folders that diffusers loads, as jobs of the peer: see `paris_p2p.pipeline`.

- `export_job`    writes a run as a new folder
- `import_job`    takes a folder in as a run
- `imported_run`  the manifest, the contents and the heads of an imported run
"""
