"""ServiceLB: Services of type LoadBalancer served by the ports of the nodes themselves, as K3s does it."""
