"""Cluster DNS on every node: the address of cluster DNS is answered where it is asked, by a server of the node's own.

A query then passes no connection tracking (no race of address translation, no table to fill) and no other node: names
of the cluster are answered while DNS pods are dead or the pod network is cut. As long as that server does not answer,
queries take the way through the Service as if it were not there.
"""
