"""Rules for BGPPeers. Pure.

Comes in: a document whose types fit. Goes out: FieldErrors: what the nodes would not use (``model/announcing/bgp_peers``) is not stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from netloom.api.bgp import BGPPeer
from netloom.api.nulls import without_nulls
from netloom.local.apiserver import validate_names as names
from netloom.local.apiserver.fielderrors import invalid, mapping, required, value_at
from netloom.local.apiserver.validate_names import Errors
from netloom.model.announcing.bgp_peers import read_peer


def bgp_peer(document: Mapping[str, Any]) -> Errors:
    """A netloom.io/v1alpha1 BGPPeer."""
    if document.get("spec") is None:
        yield required("spec")
        return
    spec = mapping(document["spec"])
    missing = [name for name in ("peerAddress", "peerASN") if spec.get(name) is None]
    for name in missing:
        yield required(f"spec.{name}")
    if spec.get("nodeSelector") is not None:
        yield from names.label_selector("spec.nodeSelector", spec["nodeSelector"])
    try:
        peer = msgspec.convert(without_nulls({"spec": dict(spec)}), type=BGPPeer)
    except msgspec.ValidationError:
        return  # types are told by schema.type_errors
    for finding in read_peer(peer)[1]:
        field = finding.source.field
        if field.removeprefix("spec.") not in missing and not field.startswith("spec.nodeSelector"):
            yield invalid(field, value_at(document, field), f"{finding.problem}; {finding.hint}")
