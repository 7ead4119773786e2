"""What a cloud provider would do: node addresses, node life, and load balancers on the nodes themselves (ServiceLB)."""
