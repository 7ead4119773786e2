"""The environment of a container: `envFrom`, `env`, service variables and what they refer to. Pure.

Later wins over earlier: service variables, then `envFrom` in order, then `env` in order. `$(NAME)` in a value refers to
variables that came before it or to service variables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from wherry.kube.objects import ConfigMap, Container, EnvSource, EnvVarSource, KeySelector, Pod, Secret, Service
from wherry.kube.objects.containers import FileKeySelector
from wherry.pods.envfile import EnvFileError, parse
from wherry.pods.expand import expand
from wherry.pods.fields import FieldError, NodeFacts, container_resource, pod_field
from wherry.pods.sources import Sources
from wherry.pods.volumes.payload import MountError


class ConfigError(Exception):
    """The container cannot be configured; the text becomes the message of `CreateContainerConfigError`."""


ReadFile = Callable[[str, str], str | None]
"""The text of a file by volume and path; None where there is no such file. Raises `MountError`."""


def environment(
    pod: Pod,
    container: Container,
    *,
    sources: Sources,
    services: Iterable[Service],
    facts: NodeFacts,
    read_file: ReadFile = lambda _volume, _path: None,
) -> dict[str, str]:
    """Return the container's variables. Raises `ConfigError` naming the first object, key or field that is missing.

    `read_file` is asked for files of variables that other containers have written.
    """
    from_services = service_variables(services, namespace=pod.namespace, links=pod.spec.enable_service_links)
    variables: dict[str, str] = {}
    for source in container.env_from:
        for key, value in _all_keys(source.config_map_ref, source.secret_ref, sources).items():
            variables[source.prefix + key] = value

    def lookup(name: str) -> str | None:
        return variables.get(name, from_services.get(name))

    for variable in container.env:
        if variable.value_from is None:
            variables[variable.name] = expand(variable.value, lookup)
        elif variable.value_from.file_key_ref is not None:
            text = _from_file(variable.value_from.file_key_ref, read_file)
            if text is not None:
                variables[variable.name] = text
        else:
            found = _from_source(pod, container, variable.value_from, sources, facts)
            if found is not None:
                variables[variable.name] = found
    return from_services | variables


def service_variables(services: Iterable[Service], *, namespace: str, links: bool) -> dict[str, str]:
    """Return the variables that announce the services of a namespace, and always `kubernetes` of `default`."""
    chosen: dict[str, Service] = {}
    for service in services:
        if service.spec.cluster_ip in ("", "None") or not service.spec.ports:
            continue
        if service.name == "kubernetes" and service.namespace == "default":
            # A service of that name in the pod's own namespace takes its place, as it does under the kubelet.
            chosen.setdefault(service.name, service)
        elif links and service.namespace == namespace:
            chosen[service.name] = service
    variables: dict[str, str] = {}
    for name in sorted(chosen):
        variables.update(_one_service(chosen[name]))
    return variables


def _one_service(service: Service) -> dict[str, str]:
    prefix = service.name.upper().replace("-", "_")
    address = service.spec.cluster_ip
    ports = service.spec.ports
    variables = {f"{prefix}_SERVICE_HOST": address, f"{prefix}_SERVICE_PORT": str(ports[0].port)}
    for port in ports:
        if port.name:
            variables[f"{prefix}_SERVICE_PORT_{port.name.upper().replace('-', '_')}"] = str(port.port)
    shown = f"[{address}]" if ":" in address else address
    for index, port in enumerate(ports):
        url = f"{port.protocol.lower()}://{shown}:{port.port}"
        if index == 0:
            variables[f"{prefix}_PORT"] = url
        link = f"{prefix}_PORT_{port.port}_{port.protocol.upper()}"
        variables[link] = url
        variables[f"{link}_PROTO"] = port.protocol.lower()
        variables[f"{link}_PORT"] = str(port.port)
        variables[f"{link}_ADDR"] = address
    return variables


def _all_keys(config_map: EnvSource | None, secret: EnvSource | None, sources: Sources) -> Mapping[str, str]:
    if config_map is not None:
        found = sources.config_maps.get(config_map.name)
        if found is None:
            return _missing_object("configmap", config_map.name, optional=config_map.optional)
        return found.data
    if secret is not None:
        kept = sources.secrets.get(secret.name)
        if kept is None:
            return _missing_object("secret", secret.name, optional=secret.optional)
        return {key: _text(value, f"key {key} of Secret {kept.key}") for key, value in kept.data.items()}
    return {}


def _missing_object(kind: str, name: str, *, optional: bool) -> Mapping[str, str]:
    if optional:
        return {}
    raise ConfigError(f'{kind} "{name}" not found')


def _from_source(
    pod: Pod, container: Container, source: EnvVarSource, sources: Sources, facts: NodeFacts
) -> str | None:
    try:
        if source.field_ref is not None:
            return pod_field(pod, source.field_ref, facts)
        if source.resource_field_ref is not None:
            name = source.resource_field_ref.container_name
            return container_resource(_container(pod, name) or container, source.resource_field_ref, facts)
    except FieldError as error:
        raise ConfigError(str(error)) from error
    if source.config_map_key_ref is not None:
        ref = source.config_map_key_ref
        config_map = sources.config_maps.get(ref.name)
        value = None if config_map is None else config_map.data.get(ref.key)
        if value is None:
            _require_key(pod, "ConfigMap", ref, config_map)
        return value
    if source.secret_key_ref is not None:
        ref = source.secret_key_ref
        secret = sources.secrets.get(ref.name)
        found = None if secret is None else secret.data.get(ref.key)
        if found is None:
            _require_key(pod, "Secret", ref, secret)
            return None
        return _text(found, f"key {ref.key} of Secret {pod.namespace}/{ref.name}")
    raise ConfigError("an environment variable's valueFrom names no source this version knows")


def _from_file(ref: FileKeySelector, read_file: ReadFile) -> str | None:
    try:
        text = read_file(ref.volume_name, ref.path)
    except MountError as error:
        raise ConfigError(str(error)) from error
    if text is None:
        if ref.optional:
            return None
        raise ConfigError(f'environment variable file "{ref.path}" of volume "{ref.volume_name}" does not exist')
    try:
        value = parse(text).get(ref.key)
    except EnvFileError as error:
        raise ConfigError(f'environment variable file "{ref.path}" of volume "{ref.volume_name}": {error}') from error
    if value is None and not ref.optional:
        raise ConfigError(f'environment variable key "{ref.key}" not found in file "{ref.path}"')
    return value


def _require_key(pod: Pod, kind: str, ref: KeySelector, holder: ConfigMap | Secret | None) -> None:
    if ref.optional:
        return
    if holder is None:
        raise ConfigError(f'{kind.lower()} "{ref.name}" not found')
    raise ConfigError(f"couldn't find key {ref.key} in {kind} {pod.namespace}/{ref.name}")


def _container(pod: Pod, name: str) -> Container | None:
    every = (*(pod.spec.containers or ()), *pod.spec.init_containers)
    return next((container for container in every if container.name == name), None)


def _text(value: bytes, what: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{what} is not UTF-8 text, which an environment variable has to be") from error
