"""wherry: the K3s network stack in Python, with the small Kubernetes it needs around it."""
