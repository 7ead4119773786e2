"""The row of custom resource definitions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wherry.apiserver.kinds import names, printing
from wherry.apiserver.kinds.common import IMMUTABLE, keep_spec, keep_status, spec_changed, status
from wherry.apiserver.kinds.extensions.schemas import check_schema, has_defaults
from wherry.apiserver.kinds.golang import internal
from wherry.apiserver.kinds.model import (
    CREATED_COLUMN,
    NAME_COLUMN,
    Context,
    FieldError,
    Object,
    Resource,
    duplicate,
    invalid,
    required,
    unsupported,
)

CLEANUP_FINALIZER = "customresourcecleanup.apiextensions.k8s.io"
_APPROVAL = "api-approved.kubernetes.io"
_APPROVAL_TEXT = (
    f'protected groups must have approval annotation "{_APPROVAL}", '
    "see https://github.com/kubernetes/enhancements/pull/1111"
)
_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
_COLUMN_FORMATS = frozenset(
    {"", "int32", "int64", "float", "double", "byte", "binary", "date", "date-time", "password"}
)
_MIXED_CASE = "may have mixed case, but should otherwise match: "
_ONE_STORAGE = "must have exactly one version marked as storage version"
_PER_VERSION = ("schema", "subresources", "additionalPrinterColumns", "selectableFields")
_MAX_SELECTABLE = 8


def _default(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    given = spec.setdefault("names", {})
    kind = given.get("kind", "")
    if kind:
        given.setdefault("singular", kind.lower())
        given.setdefault("listKind", f"{kind}List")
    spec.setdefault("conversion", {}).setdefault("strategy", "None")
    if (hook := spec["conversion"].get("webhook")) is not None:
        service = (hook.get("clientConfig") or {}).get("service")
        if service is not None:
            service.setdefault("port", 443)
    obj.setdefault("status", {})


def _storage_version(obj: Object) -> str | None:
    marked: list[str] = [v.get("name", "") for v in obj["spec"].get("versions") or () if v.get("storage")]
    return marked[0] if len(marked) == 1 else None


def _prepare_create(obj: Object, ctx: Context) -> None:
    obj["status"] = {}
    version = _storage_version(obj)
    if version is not None:
        obj["status"]["storedVersions"] = [version]


def _prepare_update(new: Object, old: Object, ctx: Context) -> None:
    keep_status(new, old, ctx)
    version = _storage_version(new)
    stored = (new.get("status") or {}).get("storedVersions") or []
    if version is not None and version not in stored:
        new["status"] = {**(new.get("status") or {}), "storedVersions": [*stored, version]}


def _check_names(errors: list[FieldError], given: Object) -> None:
    plain = ("plural", "singular")
    for key in plain:
        value = given.get(key, "")
        if not value:
            errors.append(required(f"spec.names.{key}"))
        else:
            errors.extend(invalid(f"spec.names.{key}", value, text) for text in names.dns_1035_label(value))
    for key in ("kind", "listKind"):
        value = given.get(key, "")
        if not value:
            errors.append(required(f"spec.names.{key}"))
        else:
            texts = names.dns_1035_label(value.lower())
            errors.extend(invalid(f"spec.names.{key}", value, _MIXED_CASE + text) for text in texts)
    for key in ("shortNames", "categories"):
        for index, value in enumerate(given.get(key) or ()):
            where = f"spec.names.{key}[{index}]"
            errors.extend(invalid(where, value, text) for text in names.dns_1035_label(value))
    if given.get("kind") and given.get("kind") == given.get("listKind"):
        errors.append(invalid("spec.names.listKind", given["listKind"], "kind and listKind may not be the same"))


def _check_columns(errors: list[FieldError], columns: Sequence[Object], path: str) -> None:
    for index, column in enumerate(columns):
        where = f"{path}[{index}]"
        if not column.get("name"):
            errors.append(required(f"{where}.name"))
        kind = column.get("type", "")
        listed = ",".join(_COLUMN_TYPES)
        if not kind:
            errors.append(required(f"{where}.type", f"must be one of {listed}"))
        elif kind not in _COLUMN_TYPES:
            errors.append(invalid(f"{where}.type", kind, f"must be one of {listed}"))
        if column.get("format", "") not in _COLUMN_FORMATS:
            shown = ",".join(sorted(_COLUMN_FORMATS - {""}))
            errors.append(invalid(f"{where}.format", column["format"], f"must be one of {shown}"))
        value = column.get("jsonPath", "")
        if not value:
            errors.append(required(f"{where}.JSONPath"))
        elif not value.startswith("."):
            errors.append(invalid(f"{where}.JSONPath", value, "must be a simple json path starting with ."))


def _check_subresources(errors: list[FieldError], subresources: Object, path: str) -> None:
    scale = subresources.get("scale")
    if scale is None:
        return
    for key, root in (("specReplicasPath", ".spec."), ("statusReplicasPath", ".status.")):
        value = scale.get(key, "")
        where = f"{path}.scale.{key}"
        if not value:
            errors.append(required(where))
        elif not value.startswith(root):
            errors.append(invalid(where, value, f"should be a json path under {root[:-1]}"))
    selector = scale.get("labelSelectorPath", "")
    if selector and not selector.startswith((".spec.", ".status.")):
        text = "should be a json path under either .spec or .status"
        errors.append(invalid(f"{path}.scale.labelSelectorPath", selector, text))


def _check_version(errors: list[FieldError], version: Object, path: str, schema_path: str, index: int) -> None:
    """The parts that a version may have of its own; `path` is where they are shown."""
    schema = (version.get("schema") or {}).get("openAPIV3Schema")
    if schema is None:
        errors.append(required(f"spec.versions[{index}].schema.openAPIV3Schema"))
    else:
        check_schema(errors, schema, schema_path)
    _check_subresources(errors, version.get("subresources") or {}, f"{path}.subresources")
    _check_columns(errors, version.get("additionalPrinterColumns") or (), f"{path}.additionalPrinterColumns")
    selectable = version.get("selectableFields") or ()
    if selectable and schema is None:
        text = "may only be set when validations.schema is included"
        errors.append(invalid(f"{path}.selectableFields", "", text))
    elif len(selectable) > _MAX_SELECTABLE:
        text = f"must have at most {_MAX_SELECTABLE} items"
        errors.append(FieldError("FieldValueTooMany", f"{path}.selectableFields", len(selectable), text))


def _check_versions(errors: list[FieldError], versions: Sequence[Object]) -> None:
    """Where all versions agree, their parts are reported at the level of the spec, as Kubernetes does."""
    if not versions:
        return
    same = all(all(v.get(key) == versions[0].get(key) for key in _PER_VERSION) for v in versions)
    if same:
        _check_version(errors, versions[0], "spec", "spec.validation.openAPIV3Schema", 0)
        return
    for index, version in enumerate(versions):
        path = f"spec.versions[{index}]"
        _check_version(errors, version, path, f"{path}.schema.openAPIV3Schema", index)


def _protected(group: str) -> bool:
    return any(group == suffix or group.endswith(f".{suffix}") for suffix in ("k8s.io", "kubernetes.io"))


def _validate(obj: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    spec, metadata = obj["spec"], obj["metadata"]
    given = spec.get("names") or {}
    group, versions = spec.get("group", ""), spec.get("versions")
    name = metadata.get("name", "")
    if name != f"{given.get('plural', '')}.{group}":
        errors.append(invalid("metadata.name", name, 'must be spec.names.plural+"."+spec.group'))
    if not group:
        errors.append(required("spec.group"))
    else:
        errors.extend(invalid("spec.group", group, text) for text in names.dns_subdomain(group))
        if "." not in group:
            errors.append(invalid("spec.group", group, "should be a domain with at least one dot"))
    if _protected(group) and _APPROVAL not in (metadata.get("annotations") or {}):
        errors.append(required(f"metadata.annotations[{_APPROVAL}]", _APPROVAL_TEXT))
    scope = spec.get("scope", "")
    if not scope:
        errors.append(required("spec.scope"))
    elif scope not in ("Cluster", "Namespaced"):
        errors.append(unsupported("spec.scope", scope, ("Cluster", "Namespaced")))
    keep = spec.get("preserveUnknownFields")
    if keep and any(has_defaults(version.get("schema")) for version in versions or ()):
        text = "must be false in order to use defaults in the schema"
        errors.append(invalid("spec.preserveUnknownFields", True, text))
    seen: set[str] = set()
    for index, version in enumerate(versions or ()):
        label, where = version.get("name", ""), f"spec.versions[{index}].name"
        errors.extend(invalid(where, label, text) for text in names.dns_1035_label(label))
        if label in seen:
            errors.append(duplicate(where, label))
        seen.add(label)
    if _storage_version(obj) is None:
        shown: Any = versions
        if versions:
            bare = [{key: v.get(key) for key in ("name", "served", "storage")} for v in versions]
            shown = internal("CustomResourceDefinitionVersion", bare)
        errors.append(invalid("spec.versions", shown, _ONE_STORAGE))
    if versions:
        first = versions[0].get("name", "")
        errors.extend(invalid("spec.version", first, text) for text in names.dns_1035_label(first))
    _check_versions(errors, versions or ())
    _check_names(errors, given)
    strategy = (spec.get("conversion") or {}).get("strategy", "")
    if strategy not in ("None", "Webhook"):
        errors.append(unsupported("spec.conversion.strategy", strategy, ("None", "Webhook")))
    if keep:
        text = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
        errors.append(invalid("spec.preserveUnknownFields", True, text))
    if not (obj.get("status") or {}).get("storedVersions"):
        errors.append(invalid("status.storedVersions", None, "must have at least one stored version"))
    return errors


def _established(obj: Object) -> bool:
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return any(item.get("type") == "Established" and item.get("status") == "True" for item in conditions)


def _validate_update(new: Object, old: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    after, before = new["spec"], old["spec"]
    for key in ("group",):
        if after.get(key) != before.get(key):
            errors.append(invalid(f"spec.{key}", after.get(key, ""), IMMUTABLE))
    if _established(old):
        if after.get("scope") != before.get("scope"):
            errors.append(invalid("spec.scope", after.get("scope", ""), IMMUTABLE))
        for key in ("kind", "plural"):
            value = (after.get("names") or {}).get(key, "")
            if value != (before.get("names") or {}).get(key, ""):
                errors.append(invalid(f"spec.names.{key}", value, IMMUTABLE))
    return errors or _validate(new)


def _validate_status(new: Object, old: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    stored = (new.get("status") or {}).get("storedVersions") or ()
    if not stored:
        errors.append(invalid("status.storedVersions", list(stored), "must have at least one stored version"))
    known = {version.get("name") for version in new["spec"].get("versions") or ()}
    for index, version in enumerate(stored):
        if version not in known:
            where = f"status.storedVersions[{index}]"
            errors.append(invalid(where, version, "missing from spec.versions; %s was previously a storage version"
                                  .replace("%s", version)))  # fmt: skip
    return errors


def _unmarked(definition: Object) -> bool:
    """The deletion of a definition waits until its objects are gone; from its mark on a finalizer holds it."""
    return "deletionTimestamp" not in definition["metadata"]


def _mark_deleted(definition: Object, ctx: Context) -> None:
    metadata = definition["metadata"]
    metadata["finalizers"] = [*(metadata.get("finalizers") or ()), CLEANUP_FINALIZER]
    current = definition.setdefault("status", {})
    terminating = {
        "type": "Terminating",
        "status": "True",
        "lastTransitionTime": printing.format_time(ctx.now()),
        "reason": "InstanceDeletionPending",
        "message": "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
    }
    others = [one for one in current.get("conditions") or () if one["type"] != "Terminating"]
    current["conditions"] = [*others, terminating]


CUSTOM_RESOURCE_DEFINITIONS = Resource(
    group="apiextensions.k8s.io",
    version="v1",
    kind="CustomResourceDefinition",
    plural="customresourcedefinitions",
    singular="customresourcedefinition",
    namespaced=False,
    short_names=("crd", "crds"),
    categories=("api-extensions",),
    free_finalizers=True,
    default=_default,
    prepare_create=_prepare_create,
    prepare_update=_prepare_update,
    validate=_validate,
    validate_update=_validate_update,
    generation=spec_changed,
    holds_deletion=_unmarked,
    mark_deleted=_mark_deleted,
    columns=(NAME_COLUMN, CREATED_COLUMN),
    cells=printing.name_and_created,
    subresources=(status("CustomResourceDefinition", prepare=keep_spec, validate=_validate_status),),
)
