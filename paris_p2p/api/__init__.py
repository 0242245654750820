"""The local HTTP API of a running peer, on loopback, behind a token kept in the home.

- `server`        the routes: status, heads, fetch, jobs
- `requests`      reads and checks requests
- `bootstrap`     the few routes of a bootstrap
- `guard`         admits requests with the token
- `connections`   limits connections and their idle time
- `events`        server-sent events: one JSON object a message
- `calling`       the client of this API
- `client`        finds or starts the peer of a home for a command
- `peer_process`  the peer process that serves all this
"""
