"""Pods and claims within the bounds of their namespace: what they do not say is filled in, what is out of bounds is refused.

Comes in: a pod or claim that is about to be made, and the LimitRanges of its namespace. Goes out: the pod with requests and limits, or
why not. Pure. Source: Kubernetes docs, "Limit Ranges"; admission plugin LimitRanger.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

from netloom.api import quantity
from netloom.local.apiserver.fielderrors import items, mapping

_NOTE = "kubernetes.io/limit-ranger"
_LISTS = ("initContainers", "containers")
_DEFAULTS = (("defaultRequest", "requests", "request"), ("default", "limits", "limit"))

Amounts = Mapping[str, Any]


def admit_pod(pod: dict[str, Any], ranges: Iterable[Mapping[str, Any]]) -> str:
    """Fill in what containers do not ask for; why the pod is refused, or empty."""
    found = list(_limits(ranges))
    notes = [note for limit in found if limit.get("type") == "Container" for note in _fill(pod, limit)]
    if notes:
        annotations = pod["metadata"].setdefault("annotations", {})
        annotations[_NOTE] = "LimitRanger plugin set: " + "; ".join(notes)
    problems: list[str] = []
    for limit in found:
        if limit.get("type") == "Container":
            for one in _containers(pod):
                problems += _problems(limit, mapping(one.get("resources")))
        elif limit.get("type") == "Pod":
            problems += _problems(limit, {field: _sum(pod, field) for field in ("requests", "limits")})
    return _told(problems)


def claim_problem(claim: Mapping[str, Any], ranges: Iterable[Mapping[str, Any]]) -> str:
    """Why a PersistentVolumeClaim is refused, or empty; only what it asks for has bounds."""
    asked = mapping(mapping(mapping(claim.get("spec")).get("resources")).get("requests"))
    wanted = (limit for limit in _limits(ranges) if limit.get("type") == "PersistentVolumeClaim")
    return _told(
        [problem for limit in wanted for problem in _problems(limit, {"requests": asked, "limits": asked})]
    )


def _told(problems: list[str]) -> str:
    unique = list(dict.fromkeys(problems))
    return unique[0] if len(unique) == 1 else f"[{', '.join(unique)}]" if unique else ""


def _limits(ranges: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for one in ranges:
        yield from map(mapping, items(mapping(one.get("spec")).get("limits")))


def _containers(pod: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for field in _LISTS:
        yield from pod["spec"].get(field) or ()


def _fill(pod: dict[str, Any], limit: Mapping[str, Any]) -> Iterator[str]:
    for field in reversed(_LISTS):
        for container in pod["spec"].get(field) or ():
            resources = container.setdefault("resources", {})
            for source, target, word in _DEFAULTS:
                given = mapping(limit.get(source))
                missing = {
                    name: given[name] for name in sorted(given) if name not in mapping(resources.get(target))
                }
                if missing:
                    resources[target] = {**mapping(resources.get(target)), **missing}
                    what = "init container" if field == "initContainers" else "container"
                    yield f"{', '.join(missing)} {word} for {what} {container.get('name')}"


def _sum(pod: Mapping[str, Any], field: str) -> dict[str, str]:
    """What the pod asks for in all: its containers together, or the largest init container, whichever is more."""
    together: dict[str, Decimal] = {}
    for container in pod["spec"].get("containers") or ():
        for name, amount in mapping(mapping(container.get("resources")).get(field)).items():
            together[name] = together.get(name, Decimal(0)) + (quantity.parse(amount) or 0)
    for container in pod["spec"].get("initContainers") or ():
        for name, amount in mapping(mapping(container.get("resources")).get(field)).items():
            together[name] = max(together.get(name, Decimal(0)), quantity.parse(amount) or Decimal(0))
    return {name: format(amount.normalize(), "f") for name, amount in together.items()}


def _problems(limit: Mapping[str, Any], resources: Mapping[str, Any]) -> Iterator[str]:
    requests, limits = mapping(resources.get("requests")), mapping(resources.get("limits"))
    kind = limit.get("type")
    for name, least in mapping(limit.get("min")).items():
        yield from _bound(
            f"minimum {name} usage per {kind} is {least}", least, name, requests, limits, low=True
        )
    for name, most in mapping(limit.get("max")).items():
        yield from _bound(
            f"maximum {name} usage per {kind} is {most}", most, name, requests, limits, low=False
        )
    for name, most in mapping(limit.get("maxLimitRequestRatio")).items():
        yield from _ratio(
            f"{name} max limit to request ratio per {kind} is {most}", most, name, requests, limits
        )


def _bound(
    words: str, bound: object, name: str, requests: Amounts, limits: Amounts, *, low: bool
) -> Iterator[str]:
    edge = quantity.parse(bound)
    # the least must be asked for, and the most must be kept to
    only_requests = limits is requests  # a claim has no limits
    needed, what = (requests, "request") if low or only_requests else (limits, "limit")
    if edge is None:
        return
    if name not in needed:
        yield f"{words}. No {what} is specified"
        return
    both = ((requests, "request"), (limits, "limit"))
    for amounts, word in both if low or only_requests else reversed(both):
        amount = quantity.parse(amounts.get(name))
        if amount is not None and (amount < edge if low else amount > edge):
            yield f"{words}, but {word} is {amounts[name]}"
            return


def _ratio(words: str, bound: object, name: str, requests: Amounts, limits: Amounts) -> Iterator[str]:
    asked, most, edge = (
        quantity.parse(requests.get(name)),
        quantity.parse(limits.get(name)),
        quantity.parse(bound),
    )
    if not asked or not most:
        yield (
            f"{words}, but no request is specified or request is 0"
            if not asked
            else f"{words}, but no limit is specified or limit is 0"
        )
    elif edge is not None and most / asked > edge:
        yield f"{words}, but provided ratio is {most / asked:.6f}"
