"""Content on disk, named by its BLAKE3 and verified on every read.

From the ground up:

    chunks  pieces of at most 1 MiB, a file each
    blobs   whole files as manifests of chunks, and back
"""
