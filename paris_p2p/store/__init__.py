"""Content on disk, named by its BLAKE3 and verified on every read.

From the ground up:

    chunks  pieces of at most 1 MiB, one file each
    blobs   whole files, cut into chunks under a manifest
"""
