"""Pod sandboxes: the network namespace, addresses and /etc files that the containers of one pod share."""
