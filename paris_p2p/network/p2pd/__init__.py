"""The libp2p daemon: its process, its sockets.

- `daemon`         one p2pd: what is asked of it, its streams, its death
- `process`        the process itself: how it begins and ends
- `socket_folder`  where its sockets lie, and sweeping up after who was killed
- `pipe`           a local socket with few copies and wake-ups
- `listening`      which port, and which addresses to tell others
"""
