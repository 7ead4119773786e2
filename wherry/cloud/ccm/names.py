"""Keys by which nodes, kubelet and cloud controller speak to each other; all are public and those of K3s."""

from __future__ import annotations

#: The lease that decides which process is the cloud controller.
LEASE_NAMESPACE = "kube-system"
LEASE = "k3s-cloud-controller-manager"

#: What an agent says of its node. The values are comma-separated lists, in order of preference.
INTERNAL_IP = "k3s.io/internal-ip"
EXTERNAL_IP = "k3s.io/external-ip"
INTERNAL_DNS = "k3s.io/internal-dns"
EXTERNAL_DNS = "k3s.io/external-dns"
HOSTNAME = "k3s.io/hostname"
SAID_BY_AGENTS = (INTERNAL_IP, EXTERNAL_IP, INTERNAL_DNS, EXTERNAL_DNS, HOSTNAME)

#: The address (or one of each family) that a kubelet was told by --node-ip: it must be among those of the provider.
PROVIDED_NODE_IP = "alpha.kubernetes.io/provided-node-ip"

#: A node registers with it where its cloud provider is external, and loses it once a cloud controller knows the node.
UNINITIALIZED = "node.cloudprovider.kubernetes.io/uninitialized"

PROVIDER = "k3s"

INSTANCE_TYPE = "node.kubernetes.io/instance-type"
INSTANCE_TYPE_BETA = "beta.kubernetes.io/instance-type"
ZONE = "topology.kubernetes.io/zone"
ZONE_BETA = "failure-domain.beta.kubernetes.io/zone"
REGION = "topology.kubernetes.io/region"
REGION_BETA = "failure-domain.beta.kubernetes.io/region"

#: A Secret in kube-system: ``<node>.node-password.k3s``.
PASSWORD_NAMESPACE = "kube-system"
PASSWORD_SUFFIX = ".node-password.k3s"
