"""A small internet on one machine: public hosts, hosts behind routers, real peers on them.

    networks.py   hosts and routers as network namespaces, removed at the end
    slow_link.py  a TCP proxy with delay and stalls, for kernels without netem
    probe.py      one peer that measures its connections to others
    __main__.py   the swarm on it, and the table of who reaches whom

Needs Linux, root, `ip` and `iptables` (apt-get install iproute2 iptables):

    python -m peers.testbed
"""
