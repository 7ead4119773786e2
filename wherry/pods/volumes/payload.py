"""What the files of a configMap, secret, downwardAPI or projected volume hold. Pure: objects in, files out."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from wherry.kube.objects import DownwardAPIFile, KeyToPath, Pod, ServiceAccountTokenProjection, Volume, VolumeProjection
from wherry.pods.fields import FieldError, NodeFacts, container_resource, pod_field
from wherry.pods.sources import Sources

DEFAULT_MODE = 0o644


class MountError(Exception):
    """The volume cannot be set up now; the text becomes the message of a `FailedMount` event."""


class File(msgspec.Struct, frozen=True):
    """One file: its bytes and permission bits."""

    data: bytes
    mode: int = DEFAULT_MODE


Payload = dict[str, File]
"""Files by path relative to the volume's root."""


def has_payload(volume: Volume) -> bool:
    """Tell whether the volume's files are computed from objects (and so follow their changes)."""
    return (
        volume.config_map is not None
        or volume.secret is not None
        or volume.downward_api is not None
        or volume.projected is not None
    )


def token_projections(volume: Volume) -> tuple[ServiceAccountTokenProjection, ...]:
    """Return the service account tokens that the volume asks for."""
    sources = (volume.projected.sources if volume.projected is not None else None) or ()
    return tuple(source.service_account_token for source in sources if source.service_account_token is not None)


def payload(
    volume: Volume,
    *,
    pod: Pod,
    sources: Sources,
    facts: NodeFacts,
    tokens: Mapping[ServiceAccountTokenProjection, str],
) -> Payload:
    """Return the files of a volume for which `has_payload` holds. Raises `MountError` with the kubelet's words."""
    if volume.config_map is not None:
        config_map = volume.config_map
        mode = _mode(config_map.default_mode)
        return _config_map(config_map.name, config_map.items, mode, config_map.optional, sources)
    if volume.secret is not None:
        secret = volume.secret
        return _secret(secret.secret_name, secret.items, _mode(secret.default_mode), secret.optional, sources)
    if volume.downward_api is not None:
        return _downward(volume.downward_api.items, _mode(volume.downward_api.default_mode), pod, facts)
    if volume.projected is None:
        raise MountError(f"volume {volume.name} has no source with files")
    files: Payload = {}
    mode = _mode(volume.projected.default_mode)
    for source in volume.projected.sources or ():
        files.update(_projection(source, mode, pod, sources, facts, tokens))
    return files


def _projection(
    source: VolumeProjection,
    mode: int,
    pod: Pod,
    sources: Sources,
    facts: NodeFacts,
    tokens: Mapping[ServiceAccountTokenProjection, str],
) -> Payload:
    if source.config_map is not None:
        config_map = source.config_map
        return _config_map(config_map.name, config_map.items, mode, config_map.optional, sources)
    if source.secret is not None:
        return _secret(source.secret.name, source.secret.items, mode, source.secret.optional, sources)
    if source.downward_api is not None:
        return _downward(source.downward_api.items, mode, pod, facts)
    wanted = source.service_account_token
    if wanted is None:
        raise MountError("a projected volume names a source this version does not know")
    token = tokens.get(wanted)
    if token is None:
        raise MountError(
            f"no token yet for service account {pod.namespace}/{pod.spec.service_account_name or 'default'}"
        )
    return {_checked(wanted.path): File(token.encode(), _token_mode(pod, mode))}


def _config_map(name: str, items: tuple[KeyToPath, ...], mode: int, optional: bool, sources: Sources) -> Payload:
    found = sources.config_maps.get(name)
    if found is None:
        if optional:
            return {}
        raise MountError(f'configmap "{name}" not found')
    data = {key: text.encode() for key, text in found.data.items()} | found.binary_data
    return _select(data, items, mode, optional, "configmap references non-existent config key")


def _secret(name: str, items: tuple[KeyToPath, ...], mode: int, optional: bool, sources: Sources) -> Payload:
    found = sources.secrets.get(name)
    if found is None:
        if optional:
            return {}
        raise MountError(f'secret "{name}" not found')
    return _select(found.data, items, mode, optional, "references non-existent secret key")


def _select(
    data: Mapping[str, bytes], items: tuple[KeyToPath, ...], mode: int, optional: bool, missing: str
) -> Payload:
    if not items:
        return {_checked(key): File(value, mode) for key, value in data.items()}
    files: Payload = {}
    for item in items:
        value = data.get(item.key)
        if value is not None:
            files[_checked(item.path)] = File(value, mode if item.mode is None else item.mode)
        elif not optional:
            raise MountError(f"{missing}: {item.key}")
    return files


def _downward(items: tuple[DownwardAPIFile, ...], default_mode: int, pod: Pod, facts: NodeFacts) -> Payload:
    files: Payload = {}
    for item in items:
        mode = default_mode if item.mode is None else item.mode
        try:
            text = _downward_value(item, pod, facts)
        except FieldError as error:
            raise MountError(str(error)) from error
        files[_checked(item.path)] = File(text.encode(), mode)
    return files


def _downward_value(item: DownwardAPIFile, pod: Pod, facts: NodeFacts) -> str:
    if item.field_ref is not None:
        return pod_field(pod, item.field_ref, facts)
    if item.resource_field_ref is None:
        raise FieldError(f"downward API file {item.path} names no field")
    name = item.resource_field_ref.container_name
    for container in (*(pod.spec.containers or ()), *pod.spec.init_containers):
        if container.name == name:
            return container_resource(container, item.resource_field_ref, facts)
    raise FieldError(f"container {name} not found")


def _token_mode(pod: Pod, mode: int) -> int:
    """A token is for its owner alone where the pod's group, which may read it too, makes that possible."""
    context = pod.spec.security_context
    return 0o600 if context is not None and context.fs_group is not None else mode


def _mode(mode: int | None) -> int:
    return DEFAULT_MODE if mode is None else mode


def _checked(path: str) -> str:
    # The API server refuses such paths; this guards the node's disk against one that does not.
    parts = path.split("/")
    if not path or path.startswith("/") or ".." in parts or parts[0].startswith(".."):
        raise MountError(f"invalid path in volume: {path!r}")
    return path
