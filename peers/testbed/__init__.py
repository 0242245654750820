"""A small internet on one machine: public hosts, hosts behind routers, real peers on them.

    networks.py   hosts and routers as network namespaces; gone when the block is left
    slow_link.py  a TCP proxy with delay and stalls, where the kernel has no netem
    probe.py      one peer that measures its ways to others
    __main__.py   the swarm across it, and the table of what reaches what

Needs Linux, root, `ip` and `iptables` (apt-get install iproute2 iptables):

    python -m peers.testbed
"""
