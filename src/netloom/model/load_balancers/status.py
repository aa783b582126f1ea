"""What is written about a decision: the Service's status, its condition, what is told in events. Pure.

Comes in: a Service, what was decided about it, the time as text. Goes out: the new ``status``, or None where it says all of it already.
Conditions of others stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from netloom.api.core import Service
from netloom.api.load_balancers import AddressCount, LoadBalancerPool
from netloom.api.meta import Condition
from netloom.model.load_balancers.allocation import Decision, PoolCount, words_of
from netloom.model.provenance import Finding

CONDITION = "netloom.io/LoadBalancerAddresses"
"""Of a Service: whether it has the addresses that it is to have."""
READY = "Ready"
"""Of a LoadBalancerPool: whether all of it can be used."""
_LONGEST = 2_000


class Said(msgspec.Struct, frozen=True):
    """One event."""

    reason: str
    message: str
    is_warning: bool


def service_status(service: Service, decision: Decision | None, now: str) -> dict[str, Any] | None:
    """The members of ``status`` to be written as a merge patch; None where nothing is to be written.

    Args:
        service: as it is.
        decision: about it; None where it is not ours.
        now: RFC 3339.
    """
    if decision is None:
        # nobody of ours is concerned with it any more, whoever is now
        is_stale = service.spec.type != "LoadBalancer" and _condition_of(service.status.conditions, CONDITION)
        return {"conditions": _replaced(service.status.conditions, CONDITION, None)} if is_stale else None
    wanted = [str(address) for address in decision.addresses]
    has = [ingress.ip for ingress in service.status.load_balancer.ingress]
    before = _condition_of(service.status.conditions, CONDITION)
    condition = _following(before, condition_of(decision), now, service.metadata.generation)
    if has == wanted and before == condition:
        return None
    found: dict[str, Any] = {"conditions": _replaced(service.status.conditions, CONDITION, condition)}
    if has != wanted:
        ingress = [{"ip": text, "ipMode": "VIP"} for text in wanted]
        found["loadBalancer"] = {"ingress": ingress or None}
    return found


def condition_of(decision: Decision) -> Condition:
    """The condition of a Service, without times."""
    findings = [lack.finding for lack in decision.lacks] + list(decision.findings)
    parts = [words_of(decision)] if decision.addresses else []
    message = "; ".join([*parts, *(text_of(finding) for finding in findings)])[:_LONGEST]
    if decision.is_complete:
        return Condition(CONDITION, "True", "Kept" if decision.findings else "Assigned", message)
    dry = any(lack.dry for lack in decision.lacks)
    reason = "PoolDry" if dry else "NoAddress" if decision.lacks else "InvalidRequest"
    return Condition(CONDITION, "False", reason, message)


def warnings_of(decision: Decision) -> tuple[Said, ...]:
    """What is to be told about a Service as long as it is so."""
    lacks = [
        Said("PoolDry" if lack.dry else "NoAddress", text_of(lack.finding), is_warning=True)
        for lack in decision.lacks
        if not decision.is_complete
    ]
    reason = "AddressKept" if decision.is_complete else "InvalidRequest"
    return (*lacks, *(Said(reason, text_of(finding), is_warning=True) for finding in decision.findings))


def news_of(before: Sequence[str], decision: Decision) -> tuple[Said, ...]:
    """What is to be told when the decision has been written over these addresses."""
    now = [str(address) for address in decision.addresses]
    lost = [text for text in before if text not in now]
    said = []
    if any(text not in before for text in now):
        said.append(Said("AddressAssigned", words_of(decision), is_warning=False))
    if lost:
        said.append(Said("AddressReleased", ", ".join(lost), is_warning=False))
    return tuple(said)


def pool_status(
    pool: LoadBalancerPool, count: PoolCount, findings: Iterable[Finding], now: str
) -> dict[str, Any] | None:
    """The whole ``status`` of a pool; None where it says so already."""
    told = "; ".join(text_of(finding) for finding in findings)[:_LONGEST]
    ready = Condition(READY, "False", "Faults", told) if told else Condition(READY, "True", "Usable")
    before = _condition_of(pool.status.conditions, READY)
    condition = _following(before, ready, now, pool.metadata.generation)
    if (pool.status.assigned, pool.status.available, before) == (count.assigned, count.available, condition):
        return None
    return {
        "assigned": _counted(count.assigned),
        "available": _counted(count.available),
        "conditions": _replaced(pool.status.conditions, READY, condition),
    }


def text_of(finding: Finding) -> str:
    """A Finding without its object, at which it is shown."""
    words = f"{finding.source.field}: {finding.problem}"
    return f"{words}; {finding.hint}" if finding.hint else words


def _counted(count: AddressCount) -> dict[str, int]:
    return {"ipv4": count.ipv4, "ipv6": count.ipv6}


def _condition_of(conditions: Iterable[Condition], name: str) -> Condition | None:
    return next((condition for condition in conditions if condition.type == name), None)


def _following(before: Condition | None, condition: Condition, now: str, generation: int) -> Condition:
    """The condition with its time: that of the last time that it was another."""
    at = before.last_transition_time if before is not None and before.status == condition.status else now
    return msgspec.structs.replace(condition, last_transition_time=at or now, observed_generation=generation)


def _replaced(conditions: Iterable[Condition], name: str, condition: Condition | None) -> list[Any]:
    others = [one for one in conditions if one.type != name]
    return [_document(one) for one in (*others, *((condition,) if condition is not None else ()))]


def _document(condition: Condition) -> dict[str, Any]:
    """With every member that must be there, also where it is empty."""
    found: dict[str, Any] = {
        "type": condition.type,
        "status": condition.status,
        "reason": condition.reason,
        "message": condition.message,
        "lastTransitionTime": condition.last_transition_time,
    }
    if condition.observed_generation:
        found["observedGeneration"] = condition.observed_generation
    return found
