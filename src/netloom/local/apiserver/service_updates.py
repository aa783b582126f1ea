"""What an update of a Service means where it says nothing: what was allocated stays, what its former type had goes. Pure.

Comes in: the document of an update, not yet with defaults, and the one it replaces. Goes out: the document as it is meant.
Only what the client left as it was is dropped, so that nobody's word is ignored. Not here: defaults (defaults.py), what is free
(allocate.py), what is wrong (validate.py). Source: core/v1 ServiceSpec, field by field.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Spec = Mapping[str, Any]


def settled(document: dict[str, Any], old: Mapping[str, Any]) -> dict[str, Any]:
    """The document of an update of a Service as it is meant; parts are shared with what came in."""
    spec, before = document.get("spec"), old.get("spec")
    if not isinstance(spec, dict) or not isinstance(before, dict):
        return document
    new = dict(spec)
    if isinstance(ports := spec.get("ports"), list):
        new["ports"] = [dict(port) if isinstance(port, dict) else port for port in ports]
    _keep(new, before)
    _drop(new, before)
    changed = {**document, "spec": new}
    if kind_of(new) != "LoadBalancer" and (document.get("status") or {}).get("loadBalancer"):
        # Nobody is asked to take the balancer's addresses away: that it is none any more is known here already.
        changed["status"] = {**document["status"], "loadBalancer": {}}
    return changed


def kind_of(spec: Spec) -> str:
    """``spec.type``, which may still be left out."""
    return str(spec.get("type") or "ClusterIP")


def needs_cluster_ip(spec: Spec) -> bool:
    """Only an alias has no ClusterIP, not even ``None``."""
    return kind_of(spec) != "ExternalName"


def needs_node_ports(spec: Spec) -> bool:
    """Each of its ports gets a NodePort."""
    kind = kind_of(spec)
    return kind == "NodePort" or (
        kind == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is not False
    )


def needs_health_port(spec: Spec) -> bool:
    """It gets a ``healthCheckNodePort``."""
    return kind_of(spec) == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def is_reached_from_outside(spec: Spec) -> bool:
    """``externalTrafficPolicy`` means something."""
    kind = kind_of(spec)
    return kind in {"NodePort", "LoadBalancer"} or (kind == "ClusterIP" and bool(spec.get("externalIPs")))


def is_headless_without_selector(spec: Spec) -> bool:
    """Its endpoints are somebody else's, of whatever family, whatever the cluster has."""
    return spec.get("clusterIP") == "None" and not spec.get("selector")


def _keep(new: dict[str, Any], old: Spec) -> None:
    """Take over what was allocated and is needed still."""
    if needs_cluster_ip(new) and needs_cluster_ip(old):
        asked = new.get("clusterIP")
        if asked and asked != old.get("clusterIP") and new.get("clusterIPs") == old.get("clusterIPs"):
            new.pop("clusterIPs", None)  # a client that knows the older field only: its word counts
        if not asked and not new.get("clusterIPs") and old.get("clusterIP"):
            new["clusterIP"] = old["clusterIP"]
        if (
            not new.get("clusterIPs")
            and new.get("clusterIP") == old.get("clusterIP")
            and old.get("clusterIPs")
        ):
            new["clusterIPs"] = old["clusterIPs"]
        for field in ("ipFamilies", "ipFamilyPolicy"):
            if not new.get(field) and old.get(field):
                new[field] = old[field]
    if needs_node_ports(new) and needs_node_ports(old):
        _keep_node_ports(new, old)
    if (
        needs_health_port(new)
        and needs_health_port(old)
        and not new.get("healthCheckNodePort")
        and old.get("healthCheckNodePort")
    ):
        new["healthCheckNodePort"] = old["healthCheckNodePort"]


def _keep_node_ports(new: dict[str, Any], old: Spec) -> None:
    """A port keeps its NodePort by its name: everything else of it may change."""
    used = {(p.get("nodePort"), p.get("protocol") or "TCP") for p in _ports(new) if p.get("nodePort")}
    had = {p.get("name") or "": p.get("nodePort") for p in _ports(old)}
    for port in _ports(new):
        place = (had.get(port.get("name") or ""), port.get("protocol") or "TCP")
        if not port.get("nodePort") and place[0] and place not in used:
            port["nodePort"] = place[0]
            used.add(place)


def _drop(new: dict[str, Any], old: Spec) -> None:
    """Drop what no longer applies, where the client left it as it was."""
    gone: set[str] = set()
    if needs_cluster_ip(old) and not needs_cluster_ip(new):
        gone |= {"clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"}
    if needs_health_port(old) and not needs_health_port(new):
        gone.add("healthCheckNodePort")
    if kind_of(old) == "LoadBalancer" != kind_of(new):
        gone |= {"allocateLoadBalancerNodePorts", "loadBalancerClass"}
    if is_reached_from_outside(old) and not is_reached_from_outside(new):
        gone.add("externalTrafficPolicy")
    for field in gone:
        if field in new and new[field] == old.get(field):
            del new[field]
    if needs_node_ports(old) and not needs_node_ports(new):
        before = {p.get("nodePort") for p in _ports(old)}
        # One that is told anew is a wish of the client, and what that comes to is for the rules to say.
        if all(not p.get("nodePort") or p["nodePort"] in before for p in _ports(new)):
            for port in _ports(new):
                port.pop("nodePort", None)


def _ports(spec: Spec) -> list[dict[str, Any]]:
    found = spec.get("ports")
    return [p for p in found if isinstance(p, dict)] if isinstance(found, list) else []
