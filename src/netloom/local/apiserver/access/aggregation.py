"""ClusterRoles that are added up from others: those whose labels their ``aggregationRule`` selects. Pure.

Source: Kubernetes docs, "Using RBAC Authorization: aggregated ClusterRoles".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from netloom.api.meta import LabelSelector
from netloom.api.selectors import Selector, from_selector
from netloom.local.apiserver.jsonvalue import Json


def rules_for(aggregated: Mapping[str, Any], roles: Iterable[Mapping[str, Any]]) -> list[Any] | None:
    """The rules that the role is to have, in the order of the names of those that give them; None where it adds nothing up."""
    rule = aggregated.get("aggregationRule")
    if not rule:
        return None
    own = aggregated["metadata"]["name"]
    selectors = [s for one in rule.get("clusterRoleSelectors") or () if (s := _selector(one)) is not None]
    found: list[Any] = []
    for role in sorted(roles, key=lambda r: str(r["metadata"]["name"])):
        metadata = role["metadata"]
        if metadata["name"] == own or not any(s.matches(metadata.get("labels") or {}) for s in selectors):
            continue
        found += [one for one in role.get("rules") or () if one not in found]
    return found


def settle(roles: list[dict[str, Any]]) -> None:
    """Fill in the rules of all roles that are added up, of those that are made of such ones, too."""
    for _ in roles:
        changed = False
        for role in roles:
            rules = rules_for(role, roles)
            if rules is not None and rules != (role.get("rules") or []):
                role["rules"] = rules
                changed = True
        if not changed:
            return


def _selector(document: Json) -> Selector | None:
    try:
        return from_selector(msgspec.convert(document, LabelSelector))
    except msgspec.ValidationError:
        return None
