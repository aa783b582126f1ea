"""When the ending pods of a Service get no new connections any more, as its EndpointSlices say. Pure.

In: a Service, its slices, which pods end, on which node. Out: why new connections may still go to them, or that none will. The
rules are those of the dataplane: ready endpoints first; where there are none, those that terminate and still serve (KEP-1669).
Not here: whether all nodes have these slices in force.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from netloom.api.core import Pod, Service
from netloom.api.discovery import Endpoint, EndpointSlice


class EndingPod(msgspec.Struct, frozen=True):
    """A pod that is being deleted."""

    name: str
    uid: str
    addresses: frozenset[str]


def ending_pod(pod: Pod) -> EndingPod | None:
    """What of a pod counts here; None where it is not being deleted, or never had an address."""
    addresses = frozenset(filter(None, (pod.status.pod_ip, *(given.ip for given in pod.status.pod_ips))))
    if pod.metadata.deletion_timestamp is None or not addresses:
        return None
    return EndingPod(pod.metadata.name, pod.metadata.uid, addresses)


def is_of(endpoint: Endpoint, pod: EndingPod) -> bool:
    """Whether an endpoint is this pod: by uid, or by address where it does not say what it stands for."""
    target = endpoint.target_ref
    if target is not None and target.uid:
        return target.uid == pod.uid
    return not pod.addresses.isdisjoint(endpoint.addresses)


def why_in_use(
    service: Service, slices: Iterable[EndpointSlice], pods: tuple[EndingPod, ...], node: str
) -> str:
    """Why new connections may still go to one of these pods; empty where none will, once these slices are in force.

    An ending endpoint is used where no other is ready. That is waited out where another may become ready, and accepted where
    there is none but ending ones: then nobody could take over. So is what ``publishNotReadyAddresses`` asks for.
    """
    by_port: dict[tuple[str, str, str], list[Endpoint]] = {}
    for slice_ in slices:
        for port in slice_.ports or ():
            place = (slice_.address_type, port.name or "", port.protocol or "TCP")
            by_port.setdefault(place, []).extend(slice_.endpoints)
    scopes = _scopes(service)
    for endpoints in by_port.values():
        ours = [e for e in endpoints if any(is_of(e, pod) for pod in pods)]
        for endpoint in ours:
            if not endpoint.is_terminating:
                return f"its EndpointSlices do not say yet that {_named(endpoint)} terminates"
        if not any(e.is_serving for e in ours):
            continue
        others = [e for e in endpoints if not e.is_terminating]
        for scope in scopes:
            near = others if scope == _EVERYWHERE else [e for e in others if e.node_name == node]
            if near and not any(e.is_ready for e in near):
                where = "" if scope == _EVERYWHERE else f" on {node}"
                return f"no other endpoint{where} is ready yet; {_named(near[0])} may become so"
    return ""


_EVERYWHERE = "Cluster"
_ON_NODE = "Local"


def _scopes(service: Service) -> tuple[str, ...]:
    """Among which endpoints this node chooses, as the traffic policies of the Service say."""
    spec = service.spec
    policies = {spec.internal_traffic_policy}
    if spec.type in ("NodePort", "LoadBalancer") or spec.external_ips:
        # from inside, the external addresses reach all endpoints whatever the policy
        policies |= {spec.external_traffic_policy, _EVERYWHERE}
    return tuple(scope for scope in (_EVERYWHERE, _ON_NODE) if scope in policies) or (_EVERYWHERE,)


def _named(endpoint: Endpoint) -> str:
    target = endpoint.target_ref
    if target is not None and target.name:
        return f"{target.kind or 'Pod'} {target.name}"
    return ", ".join(endpoint.addresses)
