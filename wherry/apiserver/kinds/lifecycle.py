"""The order in which a row's functions run around a write; the generic handlers call only this.

A handler does, for a create:

    resource.default(obj); admit.create(resource, obj, ctx); fill_system_metadata(...)
    errors = before_create(resource, obj, ctx)        -> refuse_invalid
    admit.check_create(resource, obj, ctx)
    transaction = begin_create(resource, obj, ctx)    -> store -> commit or revert

and for an update (`sub` names a subresource of style `object`; both versions in canonical form, see
`wherry.apiserver.schema.canonical`, so that equal specs compare equal):

    resource.default(new); admit.update(resource, new, old, ctx)
    errors = before_update(resource, new, old, ctx, sub)
    transaction = begin_update(...)                   -> store -> commit or revert
"""

from __future__ import annotations

from wherry.apiserver.kinds import meta, names
from wherry.apiserver.kinds.meta import NameErrors
from wherry.apiserver.kinds.model import Context, FieldError, Object, Resource, Transaction

_MAX_PREFIX = 58
_SUFFIX_LENGTH = 5
# Generated names stay within 63 characters, five of them random.


def generate_name(prefix: str, ctx: Context) -> str:
    """A name from `generateName`: the prefix, cut to fit, and five random characters."""
    return prefix[:_MAX_PREFIX] + ctx.random_suffix(_SUFFIX_LENGTH)


def fill_system_metadata(obj: Object, ctx: Context, *, uid: str, created: str) -> None:
    """Set what only the server sets: uid, time of creation, and the name where a prefix is given."""
    metadata = obj.setdefault("metadata", {})
    metadata["uid"] = uid
    metadata["creationTimestamp"] = created
    for key in ("deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"):
        metadata.pop(key, None)
    if not metadata.get("name") and metadata.get("generateName"):
        metadata["name"] = generate_name(metadata["generateName"], ctx)


def _metadata_errors(resource: Resource, metadata: Object, checks: NameErrors) -> list[FieldError]:
    return meta.object_errors(
        metadata,
        namespaced=resource.namespaced,
        name_errors=checks,
        free_finalizers=resource.free_finalizers,
    )


def before_create(resource: Resource, obj: Object, ctx: Context) -> list[FieldError]:
    """Prepare a defaulted and admitted object for its creation and return what is wrong with it."""
    metadata = obj["metadata"]
    if resource.generation is not None:
        metadata["generation"] = 1
    resource.prepare_create(obj, ctx)
    checks = resource.name_errors or names.name_is_subdomain
    errors = _metadata_errors(resource, metadata, checks)
    errors.extend(resource.validate(obj))
    return errors


def before_update(resource: Resource, new: Object, old: Object, ctx: Context, sub: str = "") -> list[FieldError]:
    """Prepare a defaulted and admitted new version for its storage and return what is wrong with it.

    An empty resourceVersion is an unconditional update where the row allows it, and takes the stored one.
    """
    metadata, before = new["metadata"], old["metadata"]
    if not metadata.get("resourceVersion"):
        if not resource.allow_unconditional_update:
            return [FieldError("FieldValueInvalid", "metadata.resourceVersion", 0, "must be specified for an update")]
        metadata["resourceVersion"] = before["resourceVersion"]
    meta.inherit(metadata, before)
    subresource = resource.by_subresource[sub] if sub else None
    if subresource is not None:
        subresource.prepare_update(new, old, ctx)
    else:
        resource.prepare_update(new, old, ctx)
    if resource.generation is not None and (subresource is None or subresource.bumps_generation):
        if resource.generation(new, old):
            metadata["generation"] = before.get("generation", 0) + 1
        elif "generation" in before:
            metadata["generation"] = before["generation"]
    errors = _metadata_errors(resource, metadata, names.name_is_segment)
    found = meta.update_errors(metadata, before)
    errors.extend(found)
    errors.extend(found)
    if resource.revalidates_metadata and subresource is None:
        checks = resource.name_errors or names.name_is_subdomain
        errors.extend(_metadata_errors(resource, metadata, checks))
    check = subresource.validate_update if subresource is not None else resource.validate_update
    errors.extend(check(new, old))
    return errors


def begin_create(resource: Resource, obj: Object, ctx: Context) -> Transaction | None:
    """Reserve what the object draws from pools; raises Refusal."""
    return resource.begin_create(obj, ctx) if resource.begin_create is not None else None


def begin_update(resource: Resource, new: Object, old: Object, ctx: Context) -> Transaction | None:
    """Reserve and note to release what the change of an object needs; raises Refusal."""
    return resource.begin_update(new, old, ctx) if resource.begin_update is not None else None
