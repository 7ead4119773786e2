"""The rows of ingresses and ingress classes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from wherry.apiserver.kinds import names, printing
from wherry.apiserver.kinds.addresses import check_ip, parse_ip
from wherry.apiserver.kinds.common import IMMUTABLE, keep_spec, keep_status, spec_changed, status
from wherry.apiserver.kinds.model import (
    AGE_COLUMN,
    NAME_COLUMN,
    Column,
    Context,
    FieldError,
    Object,
    Resource,
    invalid,
    required,
    unsupported,
)

GROUP = "networking.k8s.io"
CLASS_ANNOTATION = "kubernetes.io/ingress.class"
DEFAULT_CLASS = "ingressclass.kubernetes.io/is-default-class"
_CLASS_TEXT = "The name of the IngressClass resource that should be used for additional configuration"
_PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")
_BAD_PARTS = ("//", "/./", "/../", "%2f", "%2F")
_BAD_ENDS = ("/..", "/.")


def _prepare_create(obj: Object, ctx: Context) -> None:
    obj["status"] = {"loadBalancer": {}}


def _default(obj: Object) -> None:
    obj.setdefault("spec", {})
    obj.setdefault("status", {}).setdefault("loadBalancer", {})


def _admit_create(obj: Object, ctx: Context) -> None:
    """The default class, where there is one and none is named (DefaultIngressClass)."""
    annotations = obj["metadata"].get("annotations") or {}
    if obj["spec"].get("ingressClassName") is not None or CLASS_ANNOTATION in annotations:
        return
    marked = [
        cls
        for cls in ctx.list(GROUP, "ingressclasses", "")
        if (cls["metadata"].get("annotations") or {}).get(DEFAULT_CLASS) == "true"
    ]
    if marked:
        newest = max(cls["metadata"].get("creationTimestamp", "") for cls in marked)
        candidates = [cls for cls in marked if cls["metadata"].get("creationTimestamp", "") == newest]
        obj["spec"]["ingressClassName"] = min(cls["metadata"]["name"] for cls in candidates)


def _check_backend(errors: list[FieldError], backend: Object, path: str) -> None:
    service, resource = backend.get("service"), backend.get("resource")
    if service is not None and resource is not None:
        errors.append(invalid(path, "", "cannot set both resource and service backends"))
    elif resource is not None:
        for key in ("kind", "name"):
            if not resource.get(key):
                errors.append(required(f"{path}.resource.{key}"))
    elif service is not None:
        name, port = service.get("name", ""), service.get("port") or {}
        if not name:
            errors.append(required(f"{path}.service.name"))
        else:
            errors.extend(invalid(f"{path}.service.name", name, text) for text in names.dns_label(name))
        if port.get("name") and port.get("number"):
            errors.append(invalid(path, "", "cannot set both port name & port number"))
        elif port.get("name"):
            where = f"{path}.service.port.name"
            errors.extend(invalid(where, port["name"], text) for text in names.port_name(port["name"]))
        elif port.get("number"):
            where = f"{path}.service.port.number"
            errors.extend(invalid(where, port["number"], text) for text in names.port_number(port["number"]))
        else:
            errors.append(required(path, "port name or number is required"))
    else:
        errors.append(required(path, "resource or service backend is required"))


def _check_path(errors: list[FieldError], item: Object, where: str) -> None:
    kind, path = item.get("pathType"), item.get("path", "")
    if kind is None:
        errors.append(required(f"{where}.pathType", "pathType must be specified"))
    elif kind in ("Exact", "Prefix"):
        if not path.startswith("/"):
            errors.append(invalid(f"{where}.path", path, "must be an absolute path"))
        else:
            for part in _BAD_PARTS:
                if part in path:
                    errors.append(invalid(f"{where}.path", path, f"must not contain '{part}'"))
            for end in _BAD_ENDS:
                if path.endswith(end):
                    errors.append(invalid(f"{where}.path", path, f"cannot end with '{end}'"))
    elif kind == "ImplementationSpecific":
        if path and not path.startswith("/"):
            errors.append(invalid(f"{where}.path", path, "must be an absolute path"))
    else:
        errors.append(unsupported(f"{where}.pathType", kind, _PATH_TYPES))
    _check_backend(errors, item.get("backend") or {}, f"{where}.backend")


def _check_host(errors: list[FieldError], host: str, path: str) -> None:
    check = names.wildcard_subdomain if "*" in host else names.dns_subdomain
    errors.extend(invalid(path, host, text) for text in check(host))


def _validate(obj: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    spec = obj["spec"]
    rules, backend = spec.get("rules") or (), spec.get("defaultBackend")
    if not rules and backend is None:
        errors.append(invalid("spec", None, "either `defaultBackend` or `rules` must be specified"))
    if backend is not None:
        _check_backend(errors, backend, "spec.defaultBackend")
    for index, rule in enumerate(rules):
        where = f"spec.rules[{index}]"
        if host := rule.get("host"):
            if parse_ip(host) is not None:
                errors.append(invalid(f"{where}.host", host, "must be a DNS name, not an IP address"))
            else:
                _check_host(errors, host, f"{where}.host")
        http = rule.get("http")
        if http is not None:
            paths = http.get("paths") or ()
            if not paths:
                errors.append(required(f"{where}.http.paths"))
            for number, item in enumerate(paths):
                _check_path(errors, item, f"{where}.http.paths[{number}]")
    for index, item in enumerate(spec.get("tls") or ()):
        for number, host in enumerate(item.get("hosts") or ()):
            _check_host(errors, host, f"spec.tls[{index}].hosts[{number}]")
        if secret := item.get("secretName"):
            where = f"spec.tls[{index}].secretName"
            errors.extend(invalid(where, secret, text) for text in names.dns_subdomain(secret))
    if cls := spec.get("ingressClassName"):
        errors.extend(invalid("spec.ingressClassName", cls, text) for text in names.dns_subdomain(cls))
    return errors


def _validate_update(new: Object, old: Object) -> list[FieldError]:
    return _validate(new)


def _validate_status(new: Object, old: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    balancer = (new.get("status") or {}).get("loadBalancer") or {}
    for index, ingress in enumerate(balancer.get("ingress") or ()):
        where = f"status.loadBalancer.ingress[{index}]"
        if address := ingress.get("ip"):
            check_ip(errors, address, f"{where}.ip")
        if host := ingress.get("hostname"):
            errors.extend(invalid(f"{where}.hostname", host, text) for text in names.dns_subdomain(host))
            if parse_ip(host) is not None:
                errors.append(invalid(f"{where}.hostname", host, "must be a DNS name, not an IP address"))
    return errors


def _hosts(spec: Object) -> str:
    hosts = [rule["host"] for rule in spec.get("rules") or () if rule.get("host")]
    if not hosts:
        return "*"
    shown = ",".join(hosts[:3])
    return f"{shown} + {len(hosts) - 3} more..." if len(hosts) > 3 else shown


def _cells(obj: Object, now: datetime) -> list[Any]:
    spec = obj["spec"]
    annotations = obj["metadata"].get("annotations") or {}
    ingresses = ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    addresses = [item.get("ip") or item.get("hostname", "") for item in ingresses]
    return [
        printing.name_of(obj),
        spec.get("ingressClassName") or annotations.get(CLASS_ANNOTATION) or printing.NONE,
        _hosts(spec),
        ",".join(address for address in addresses if address),
        "80, 443" if spec.get("tls") else "80",
        printing.age(obj, now),
    ]


def _warnings(obj: Object) -> list[str]:
    if CLASS_ANNOTATION in (obj["metadata"].get("annotations") or {}):
        return [f"annotation \"{CLASS_ANNOTATION}\" is deprecated, please use 'spec.ingressClassName' instead"]
    return []


INGRESSES = Resource(
    group=GROUP,
    version="v1",
    kind="Ingress",
    plural="ingresses",
    singular="ingress",
    namespaced=True,
    short_names=("ing",),
    default=_default,
    prepare_create=_prepare_create,
    prepare_update=keep_status,
    validate=_validate,
    validate_update=_validate_update,
    generation=spec_changed,
    admit_create=_admit_create,
    columns=(
        NAME_COLUMN,
        Column(
            "Class",
            description="The name of the IngressClass resource that should be used for additional configuration",
        ),
        Column("Hosts", description="Hosts that incoming requests are matched against before the ingress rule"),
        Column("Address", description="Address is a list containing ingress points for the load-balancer"),
        Column("Ports", description="Ports of TLS configurations that open"),
        AGE_COLUMN,
    ),
    cells=_cells,
    warnings=_warnings,
    subresources=(status("Ingress", prepare=keep_spec, validate=_validate_status),),
)


# --- ingress classes --------------------------------------------------------------------------------------------------


def _default_class(obj: Object) -> None:
    parameters = obj.setdefault("spec", {}).get("parameters")
    if parameters is not None:
        parameters.setdefault("scope", "Cluster")


def _validate_class(obj: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    controller = obj["spec"].get("controller", "")
    path = "spec.controller"
    if len(controller) > 250:
        errors.append(FieldError("FieldValueTooLong", path, None, "may not be more than 250 bytes"))
    prefix, slash, rest = controller.partition("/")
    if not controller:
        errors.append(required(path))
    elif not slash or not rest:
        errors.append(invalid(path, controller, 'must be a domain-prefixed path (such as "acme.io/foo")'))
    else:
        errors.extend(invalid(path, controller, text) for text in names.dns_subdomain(prefix))
    parameters = obj["spec"].get("parameters")
    if parameters is not None:
        for key in ("kind", "name"):
            if not parameters.get(key):
                errors.append(required(f"spec.parameters.{key}"))
        scope, namespace = parameters.get("scope"), parameters.get("namespace")
        if scope not in ("Cluster", "Namespace"):
            errors.append(unsupported("spec.parameters.scope", scope, ("Cluster", "Namespace")))
        elif scope == "Namespace" and not namespace:
            text = "`parameters.scope` is set to 'Namespace'"
            errors.append(required("spec.parameters.namespace", text))
        elif scope == "Cluster" and namespace is not None:
            text = "`parameters.scope` is set to 'Cluster'"
            errors.append(FieldError("FieldValueForbidden", "spec.parameters.namespace", None, text))
    return errors


def _update_class(new: Object, old: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    after = new["spec"].get("controller", "")
    if after != old["spec"].get("controller", ""):
        errors.append(invalid("spec.controller", after, IMMUTABLE))
    return errors + _validate_class(new)


def _class_cells(obj: Object, now: datetime) -> list[Any]:
    parameters = obj["spec"].get("parameters")
    shown = printing.NONE
    if parameters is not None:
        group = parameters.get("apiGroup")
        kind = f"{parameters.get('kind', '')}.{group}" if group else parameters.get("kind", "")
        shown = f"{kind}/{parameters.get('name', '')}"
    return [printing.name_of(obj), obj["spec"].get("controller", ""), shown, printing.age(obj, now)]


INGRESS_CLASSES = Resource(
    group=GROUP,
    version="v1",
    kind="IngressClass",
    plural="ingressclasses",
    singular="ingressclass",
    namespaced=False,
    default=_default_class,
    validate=_validate_class,
    validate_update=_update_class,
    generation=spec_changed,
    columns=(
        NAME_COLUMN,
        Column("Controller", description="Controller that is responsible for handling this class"),
        Column("Parameters", description="A reference to a resource with additional parameters"),
        AGE_COLUMN,
    ),
    cells=_class_cells,
)
