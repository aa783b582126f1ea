"""Policies and packets as a person writes them, for tests that read like a specification.

Comes in: specs of policies in YAML, and lines such as ``shop/web -> shop/db:5432``. Goes out: a cluster with a handful of pods under these
policies, and what the policies say of the line. An end is a pod, ``node-1``, ``node-2`` or an address; the port comes with a
protocol unless that is TCP, and without both it is a packet that has none.
"""

from __future__ import annotations

import yaml

from netloom.api.cluster_policy import ClusterNetworkPolicy
from netloom.api.core import ContainerPort, Namespace
from netloom.api.meta import KubeObject
from netloom.api.networking import NetworkPolicy
from netloom.kube.yaml_loader import Loader
from netloom.model.inputs import ClusterView
from netloom.model.policy.cluster import PolicyCluster
from netloom.model.policy.judge import Judge
from netloom.model.policy.verdicts import Traffic
from netloom.testing import builders as b
from netloom.testing.policy_universe import FACTS, NODES
from netloom.units import Addr, Protocol, parse_addr

POSTGRES = ContainerPort(container_port=5432, name="postgres")
HTTP = ContainerPort(container_port=8080, name="http")
DNS_UDP = ContainerPort(container_port=53, name="dns", protocol="UDP")


def world() -> ClusterView:
    """Namespaces shop (team=shop) and ops (team=ops, env=prod) with pods of both families, and two nodes."""
    shop, ops = {"team": "shop"}, {"team": "ops", "env": "prod"}
    return b.view(
        Namespace(metadata=b.meta("shop", labels=shop)),
        Namespace(metadata=b.meta("ops", labels=ops)),
        *(b.node(name, *addresses, labels={"zone": name[-1]}) for name, addresses in NODES.items()),
        b.pod("shop/web", "10.244.1.2", "2001:db8:44:1::2", node="node-1", labels={"role": "web"}, ports=[HTTP]),
        b.pod("shop/api", "10.244.1.3", "2001:db8:44:1::3", node="node-1", labels={"role": "api"}, ports=[HTTP]),
        b.pod("shop/db", "10.244.2.2", "2001:db8:44:2::2", node="node-2", labels={"role": "db"}, ports=[POSTGRES]),
        b.pod("shop/bare", "10.244.2.5", node="node-2"),
        b.pod("ops/api", "10.244.2.3", node="node-2", labels={"role": "api"}, ports=[HTTP, DNS_UDP]),
        b.pod("ops/host", "172.30.0.12", node="node-2", labels={"role": "api"}, host_network=True),
        b.pod("ops/done", "10.244.2.9", node="node-2", labels={"role": "api"}, phase="Succeeded"),
        b.service(
            "kube-system/kube-dns", "10.96.0.10",
            ports=[b.port(53, "dns", protocol="UDP"), b.port(53, "dns-tcp")], labels={"k8s-app": "kube-dns"},
        ),
    )  # fmt: skip


def policies(*specs: str, namespace: str = "shop") -> list[NetworkPolicy | ClusterNetworkPolicy]:
    """Policies from the YAML of their specs: ClusterNetworkPolicies c0, c1 ... where there is a tier, else NetworkPolicies p0, p1 ..."""
    found: list[NetworkPolicy | ClusterNetworkPolicy] = []
    for number, text in enumerate(specs):
        spec = yaml.load(text, Loader=Loader)  # noqa: S506 - a safe loader
        if isinstance(spec, dict) and "tier" in spec:
            found.append(ClusterNetworkPolicy(metadata=b.meta(f"c{number}"), spec=spec))
        else:
            found.append(NetworkPolicy(metadata=b.meta(f"{namespace}/p{number}"), spec=spec))
    return found


def with_objects(view: ClusterView, *objects: KubeObject) -> ClusterView:
    """A cluster with more objects, or other ones of the same name."""
    more = b.view(*objects)
    fields = {name: {**getattr(view, name), **getattr(more, name)} for name in ClusterView.__struct_fields__}
    return ClusterView(**fields)


def judge_of(view: ClusterView) -> Judge:
    """Who judges packets in a cluster."""
    return Judge(PolicyCluster.of(view, FACTS.dns_addresses))


def under(*specs: str, namespace: str = "shop") -> Judge:
    """The world with policies of these specs."""
    return judge_of(with_objects(world(), *policies(*specs, namespace=namespace)))


def packet(line: str, view: ClusterView | None = None) -> Traffic:
    """``shop/web -> shop/db:5432/udp``, ``192.0.2.18 -> shop/web`` (no port), ``shop/web -> 2001:db8::1 :80``; IPv6 on ``(v6)``."""
    view = world() if view is None else view
    version = 6 if line.endswith(" (v6)") else 4
    source, _, rest = line.removesuffix(" (v6)").partition(" -> ")
    destination, colon, port = rest.rpartition(":")
    if not colon:
        return Traffic(_address(source, view, version), _address(rest, view, version), None)
    number, _, word = port.partition("/")
    return Traffic(
        _address(source, view, version),
        _address(destination.strip(), view, version),
        Protocol((word or "tcp").upper()),
        int(number),
    )


def _address(text: str, view: ClusterView, version: int) -> Addr:
    address = parse_addr(text)
    if address is not None:
        return address
    texts = NODES.get(text) or tuple(ip.ip for ip in view.pods[b.key_of(text)].status.pod_ips)
    found = [a for t in texts if (a := parse_addr(t)) is not None and a.version == version]
    return found[0]


def is_allowed(judge: Judge, line: str) -> bool:
    """Whether both ends allow it."""
    return all(judgement.is_allowed for judgement in judge.both(packet(line)))
