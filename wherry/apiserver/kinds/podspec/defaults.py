"""Defaults of pod specs, as the API reference of Pod and PodTemplateSpec documents them."""

from __future__ import annotations

from typing import Any

from wherry.apiserver.kinds.model import Object

_FILE_MODE = 0o644
_TOKEN_SECONDS = 3600

# Defaults of volume sources that are constants.
_SOURCE_DEFAULTS: dict[str, dict[str, Any]] = {
    "hostPath": {"type": ""},
    "secret": {"defaultMode": _FILE_MODE},
    "configMap": {"defaultMode": _FILE_MODE},
    "downwardAPI": {"defaultMode": _FILE_MODE},
    "projected": {"defaultMode": _FILE_MODE},
    "iscsi": {"iscsiInterface": "default"},
    "rbd": {"pool": "rbd", "user": "admin", "keyring": "/etc/ceph/keyring"},
    "azureDisk": {"cachingMode": "ReadWrite", "kind": "Shared", "fsType": "ext4", "readOnly": False},
    "scaleIO": {"storageMode": "ThinProvisioned", "fsType": "xfs"},
}

_PROBE_DEFAULTS = (("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3))


def image_pull_policy(image: str) -> str:
    """`Always` for the tag `latest`, named or implied; `IfNotPresent` for other tags and for digests."""
    if "@" in image:
        return "IfNotPresent"
    name, colon, tag = image.rpartition(":")
    if not colon or not name or "/" in tag:
        tag = "latest"
    return "Always" if tag == "latest" else "IfNotPresent"


def _default_handler(handler: Object) -> None:
    if (http := handler.get("httpGet")) is not None:
        http.setdefault("path", "/")
        http.setdefault("scheme", "HTTP")


def _default_probe(probe: Object) -> None:
    for key, value in _PROBE_DEFAULTS:
        if not probe.get(key):
            probe[key] = value
    _default_handler(probe)
    if (grpc := probe.get("grpc")) is not None:
        grpc.setdefault("service", "")


def _default_container(container: Object) -> None:
    if not container.get("imagePullPolicy"):
        container["imagePullPolicy"] = image_pull_policy(container.get("image", ""))
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    container.setdefault("resources", {})
    for port in container.get("ports") or ():
        port.setdefault("protocol", "TCP")
    for key in ("livenessProbe", "readinessProbe", "startupProbe"):
        if (probe := container.get(key)) is not None:
            _default_probe(probe)
    if (lifecycle := container.get("lifecycle")) is not None:
        for key in ("postStart", "preStop"):
            if (handler := lifecycle.get(key)) is not None:
                _default_handler(handler)
    for variable in container.get("env") or ():
        if (source := variable.get("valueFrom")) is not None:
            _default_field_source(source)


def _default_field_source(source: Object) -> None:
    if (field := source.get("fieldRef")) is not None:
        field.setdefault("apiVersion", "v1")
    if (resource := source.get("resourceFieldRef")) is not None:
        resource.setdefault("divisor", "0")


def _default_volume(volume: Object) -> None:
    source = next((key for key in volume if key != "name"), None)
    if source is None:
        volume["emptyDir"] = {}
        return
    content = volume[source]
    for key, value in _SOURCE_DEFAULTS.get(source, {}).items():
        content.setdefault(key, value)
    if source == "downwardAPI":
        for item in content.get("items") or ():
            _default_field_source(item)
    elif source == "projected":
        for part in content.get("sources") or ():
            if (token := part.get("serviceAccountToken")) is not None:
                token.setdefault("expirationSeconds", _TOKEN_SECONDS)
            if (downward := part.get("downwardAPI")) is not None:
                for item in downward.get("items") or ():
                    _default_field_source(item)
    elif source == "ephemeral":
        claim = content.get("volumeClaimTemplate")
        if claim is not None:
            claim.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")


def default_pod_spec(spec: Object) -> None:
    """Defaults that pods and pod templates share."""
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("securityContext", {})
    spec.setdefault("schedulerName", "default-scheduler")
    account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if account:
        spec["serviceAccountName"] = spec["serviceAccount"] = account
    for key in ("containers", "initContainers", "ephemeralContainers"):
        for container in spec.get(key) or ():
            _default_container(container)
    for volume in spec.get("volumes") or ():
        _default_volume(volume)


def default_pod_template(template: Object) -> None:
    """Defaults of a template; metadata and spec are always shown."""
    template.setdefault("metadata", {})
    default_pod_spec(template.setdefault("spec", {}))


def default_pod_only(spec: Object) -> None:
    """Defaults that a pod has and a template has not: requests from limits, host ports on the host's network."""
    spec.setdefault("enableServiceLinks", True)
    on_host = spec.get("hostNetwork", False)
    for key in ("containers", "initContainers"):
        for container in spec.get(key) or ():
            resources = container["resources"]
            if limits := resources.get("limits"):
                requests = resources.setdefault("requests", {})
                for name, value in limits.items():
                    requests.setdefault(name, value)
            if on_host:
                for port in container.get("ports") or ():
                    if not port.get("hostPort") and port.get("containerPort"):
                        port["hostPort"] = port["containerPort"]
