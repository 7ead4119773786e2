"""Talking to Linux: network namespaces, netlink, nftables, conntrack, sysctl."""
