"""The local HTTP API of a running peer, on loopback, behind a token kept in the home.

- `server`   the routes: status, heads, fetch, jobs
- `requests` what a request says, bounded and checked
- `bootstrap` the few routes of a bootstrap
- `guard`    who may speak to it
- `connections` how many may, and how long without a request
- `events`   server-sent events: one JSON object a message
- `calling`  what the commands use to call it
- `client`   the peer of a home, started for a command when none runs
"""
