"""The services that are measured: ten thousand of five endpoints each, and one whose endpoint is a real server."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Final

from msgspec import structs

from wherry.kube.keys import Key
from wherry.kube.objects import (
    Endpoint,
    EndpointPort,
    EndpointSlice,
    LoadBalancerIngress,
    LoadBalancerStatus,
    ObjectMeta,
    Service,
    ServicePort,
    ServiceSpec,
    ServiceStatus,
)
from wherry.services.compile import compile_service
from wherry.services.model import ServiceState
from wherry.services.names import Ranges
from wherry.services.topology import Place

SERVICES: Final = 10_000
ENDPOINTS: Final = 5
PLACE: Final = Place("node-1")
RANGES: Final = Ranges(cluster=("10.32.0.0/13",), own=("10.32.0.0/24",), services=("10.96.0.0/12",))
FIRST_SERVICE, FIRST_POD = ip_address("10.96.0.10"), ip_address("10.33.0.1")

REACHED: Final = SERVICES
"""The number of the service that is reached."""
CLUSTER_IP: Final = str(FIRST_SERVICE + REACHED)
NODE, SERVER, BALANCER = "10.40.0.1", "10.41.0.2", "192.0.2.1"
PORT, NODE_PORT, TARGET_PORT = 80, 30080, 8080
STREAM_PORT, STREAM_NODE_PORT, STREAM_TARGET_PORT = 81, 30081, 5201
"""The same three of the program that measures throughput."""


def key(number: int) -> Key:
    """The name of one of them."""
    return Key("bench", f"service-{number}")


def service(number: int) -> Service:
    """One of them, of one port."""
    return Service(
        metadata=ObjectMeta(namespace="bench", name=f"service-{number}"),
        spec=ServiceSpec(cluster_ips=(str(FIRST_SERVICE + number),), ports=(ServicePort(name="http", port=PORT),)),
    )


def targets(number: int, shift: int = 0) -> list[str]:
    """The addresses of its endpoints; with a shift of one another one instead of the first."""
    return [str(FIRST_POD + number * 2 * ENDPOINTS + shift + index) for index in range(ENDPOINTS)]


def slices(number: int, shift: int = 0) -> list[EndpointSlice]:
    """Its endpoints, on a node each."""
    ends = tuple(
        Endpoint(addresses=(address,), node_name=f"node-{index}")
        for index, address in enumerate(targets(number, shift))
    )
    return [EndpointSlice(address_type="IPv4", endpoints=ends, ports=(EndpointPort(name="http", port=TARGET_PORT),))]


def compiled(number: int, shift: int = 0) -> ServiceState:
    """What a node has to do for it."""
    return compile_service(service(number), slices(number, shift), place=PLACE)


def reached() -> ServiceState:
    """A service whose one endpoint is the server, by its own address, node ports and a load balancer's address."""
    made = service(REACHED)
    ports = (
        ServicePort(name="http", port=PORT, node_port=NODE_PORT),
        ServicePort(name="stream", port=STREAM_PORT, node_port=STREAM_NODE_PORT),
    )
    spec = structs.replace(made.spec, type="LoadBalancer", ports=ports)
    status = ServiceStatus(load_balancer=LoadBalancerStatus(ingress=(LoadBalancerIngress(ip=BALANCER),)))
    slice_ = EndpointSlice(
        address_type="IPv4",
        endpoints=(Endpoint(addresses=(SERVER,), node_name=PLACE.node),),
        ports=(EndpointPort(name="http", port=TARGET_PORT), EndpointPort(name="stream", port=STREAM_TARGET_PORT)),
    )
    return compile_service(structs.replace(made, spec=spec, status=status), [slice_], place=PLACE)
