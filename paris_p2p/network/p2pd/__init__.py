"""The libp2p daemon: its process, its sockets.

- `daemon`         one p2pd: its calls, its streams, its death
- `process`        the process itself: how it starts and ends
- `socket_folder`  private folders for its sockets, and removing deserted ones
- `pipe`           a local socket with few copies and wake-ups
- `listening`      the port to listen on, and the addresses to announce
"""
