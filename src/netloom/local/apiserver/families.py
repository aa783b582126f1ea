"""Families of a Service: ``ipFamilyPolicy`` and ``ipFamilies``, from what was asked for and what the cluster has. Pure.

Comes in: a Service's spec, what it replaces, the cluster's families. Goes out: both fields filled in, ``clusterIPs`` cut where a
second address is given up; or causes with field paths. Not here: addresses themselves (allocate.py). Source: core/v1
ServiceSpec ipFamilyPolicy and ipFamilies (KEP-563).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from netloom.local.apiserver.service_updates import is_headless_without_selector, needs_cluster_ip
from netloom.local.apiserver.status import Cause
from netloom.units import Family, family_of, parse_addr

FAMILY_WORDS = {Family.V4: "IPv4", Family.V6: "IPv6"}
_OTHER = {"IPv4": "IPv6", "IPv6": "IPv4"}
_POLICY = "spec.ipFamilyPolicy"


def settle(spec: dict[str, Any], old: Mapping[str, Any], configured: Sequence[str]) -> list[Cause]:
    """Fill in policy and families.

    Args:
        spec: of the Service; ``clusterIPs`` has what is wanted so far.
        old: the spec it replaces; empty for a new Service.
        configured: the cluster's families, the default one first.
    """
    if _is_settled(spec, old):
        # A cluster that becomes dual-stack, or no longer is, changes no Service that only prefers it.
        return []
    policy = spec["ipFamilyPolicy"] = spec.get("ipFamilyPolicy") or _default_policy(spec, old)
    causes = _downgraded(spec, old, policy) if old else []
    families, unknown = _families(spec, configured)
    causes += _too_many(spec, policy) + unknown
    if causes:
        return causes
    spec["ipFamilies"] = families or [configured[0]]
    if is_headless_without_selector(spec):
        return _second(spec, policy)
    if policy == "RequireDualStack" and len(configured) < 2:
        causes.append(invalid(_POLICY, policy, "this cluster is not configured for dual-stack services"))
    for index, word in enumerate(families):
        if word not in configured:
            causes.append(invalid(f"spec.ipFamilies[{index}]", word, "not configured on this cluster"))
    return causes or (_second(spec, policy) if len(configured) > 1 else [])


def _too_many(spec: Mapping[str, Any], policy: str) -> list[Cause]:
    if policy != "SingleStack":
        return []
    given = (("cluster IPs", _addresses(spec)), ("IP families", spec.get("ipFamilies") or ()))
    why = "must be 'RequireDualStack' or 'PreferDualStack' when multiple {} are specified"
    return [invalid(_POLICY, policy, why.format(what)) for what, those in given if len(those) > 1]


def _families(spec: Mapping[str, Any], configured: Sequence[str]) -> tuple[list[str], list[Cause]]:
    """The families that are asked for, by their names or by addresses."""
    families: list[str] = list(spec.get("ipFamilies") or ())
    causes = []
    addresses = _addresses(spec)
    for index in range(len(families), len(addresses)):
        word = family_word(addresses[index])
        if word in configured:
            families.append(word)
        elif word:
            why = f"{word} is not configured on this cluster"
            causes.append(invalid(f"spec.clusterIPs[{index}]", addresses, why))
    return families, causes


def family_word(address: str) -> str:
    """``IPv4`` or ``IPv6``; empty for what is no address."""
    parsed = parse_addr(address)
    return FAMILY_WORDS[family_of(parsed)] if parsed is not None else ""


def invalid(field: str, value: object, why: str) -> Cause:
    """A value that a field cannot have."""
    return Cause("FieldValueInvalid", f"Invalid value: {json.dumps(value)}: {why}", field)


def _second(spec: dict[str, Any], policy: str) -> list[Cause]:
    if policy != "SingleStack" and len(spec["ipFamilies"]) == 1:
        spec["ipFamilies"].append(_OTHER[spec["ipFamilies"][0]])
    return []


def _is_settled(spec: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    return (
        needs_cluster_ip(old)
        and spec.get("ipFamilyPolicy") == old.get("ipFamilyPolicy") == "PreferDualStack"
        and all(spec.get(f) == old.get(f) for f in ("clusterIP", "clusterIPs", "ipFamilies"))
    )


def _default_policy(spec: Mapping[str, Any], old: Mapping[str, Any]) -> str:
    if old.get("ipFamilyPolicy"):
        return str(old["ipFamilyPolicy"])
    return "RequireDualStack" if is_headless_without_selector(spec) else "SingleStack"


def _downgraded(spec: dict[str, Any], old: Mapping[str, Any], policy: str) -> list[Cause]:
    """An update to SingleStack that says nothing else gives up the second address; any other loss of it is no wish."""
    causes = []
    for field, what in (("clusterIPs", "cluster IP"), ("ipFamilies", "IP family")):
        now, before = list(spec.get(field) or ()), list(old.get(field) or ())
        if policy == "SingleStack":
            if now == before and len(now) > 1:
                spec[field] = now[:1]
        elif now and len(now) < len(before):
            causes.append(invalid(_POLICY, policy, f"must be 'SingleStack' to release the secondary {what}"))
    return causes


def _addresses(spec: Mapping[str, Any]) -> list[str]:
    return [str(ip) for ip in spec.get("clusterIPs") or () if ip and ip != "None"]
