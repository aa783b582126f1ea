"""Rules for NetworkAttachmentDefinitions, NetworkPools and NetworkLeases. Pure.

Comes in: a document whose types fit. Goes out: FieldErrors. A configuration that no agent could use is refused here, where its author
sees it, with the same reading that agents use. Elsewhere the CustomResourceDefinitions of deploy/crds say as much of it as their
language can. Not here: what networks mean (netloom.cni.networks).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from netloom.api.networks import NetworkPool
from netloom.api.nulls import without_nulls
from netloom.cni.networks import configuration, pools
from netloom.errors import InvalidObject
from netloom.local.apiserver.fielderrors import forbidden, invalid, mapping, required, value_at
from netloom.local.apiserver.validate_names import Errors
from netloom.units import parse_addr


def network_attachment_definition(document: Mapping[str, Any]) -> Errors:
    """A k8s.cni.cncf.io/v1 NetworkAttachmentDefinition."""
    config = mapping(document.get("spec")).get("config")
    if not isinstance(config, str) or not config.strip():
        return
    name = str(mapping(document.get("metadata")).get("name") or "x")
    try:
        configuration.read(config, subject="", field="spec.config", name=name)
    except InvalidObject as error:
        yield invalid("spec.config", config, _words(error, "spec.config"))


def network_pool(document: Mapping[str, Any]) -> Errors:
    """A netloom.io/v1alpha1 NetworkPool."""
    spec = document.get("spec")
    if spec is None:
        yield required("spec")
        return
    if not mapping(spec).get("cidrs"):
        yield required("spec.cidrs", "a pool without addresses is of no use")
        return
    try:
        pools.read(msgspec.convert(without_nulls(dict(document)), type=NetworkPool))
    except msgspec.ValidationError:
        return  # types are told by schema.type_errors
    except InvalidObject as error:
        yield invalid(error.field, value_at(document, error.field), _words(error, error.field))


def network_lease(document: Mapping[str, Any], old: Mapping[str, Any] | None) -> Errors:
    """A netloom.io/v1alpha1 NetworkLease."""
    if document.get("spec") is None:
        yield required("spec")
        return
    spec = mapping(document["spec"])
    address = parse_addr(str(spec.get("address") or ""))
    if not spec.get("pool"):
        yield required("spec.pool")
    if spec.get("holder") is None:
        yield required("spec.holder")
    if address is None:
        yield invalid("spec.address", spec.get("address"), "must be an address")
        return
    name, wanted = (
        mapping(document.get("metadata")).get("name"),
        pools.lease_name(str(spec.get("pool")), address),
    )
    if name != wanted:
        yield invalid(
            "metadata.name", name, f"must be {wanted}, for that makes an address one that only one can take"
        )
    before = mapping(mapping(old).get("spec")) if old is not None else spec
    for field in ("pool", "address"):
        if before.get(field) != spec.get(field):
            yield forbidden(f"spec.{field}", "does not change; delete the lease, and make another")


def _words(error: InvalidObject, field: str) -> str:
    problem = (
        error.problem.removeprefix(error.subject).removeprefix(": ").removeprefix(field).removeprefix(": ")
    )
    return f"{problem}; {error.hint}" if error.hint else problem
