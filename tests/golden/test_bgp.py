"""BIRD's configuration from manifests as users write them; where BIRD is installed it reads each."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest
import yaml

from netloom.announce.bgp.config import render
from netloom.api.bgp import BGPPeer
from netloom.api.core import Node, Service
from netloom.api.discovery import EndpointSlice
from netloom.api.load_balancers import LoadBalancerPool
from netloom.api.pools import IPBlock, IPPool
from netloom.model.announcing.bgp import Outside, PodNetwork, speech
from netloom.model.announcing.duties import Announcing
from netloom.model.announcing.view import AnnounceView
from netloom.units import ObjectKey, parse_cidr

HERE = Path(__file__).parent / "bgp"
KINDS = {
    "BGPPeer": (BGPPeer, "bgp_peers"),
    "LoadBalancerPool": (LoadBalancerPool, "load_balancer_pools"),
    "Service": (Service, "services"),
    "IPPool": (IPPool, "pools"),
    "IPBlock": (IPBlock, "blocks"),
}
CLUSTER = tuple(c for t in ("10.244.0.0/16", "fd00:244::/48") if (c := parse_cidr(t)) is not None)


def node(number: int) -> Node:
    return msgspec.convert(
        {
            "metadata": {"name": f"node-{number}", "labels": {"rack": str(number)}},
            "spec": {"podCIDRs": [f"10.244.{number}.0/24", f"fd00:244:0:{number}::/64"]},
            "status": {"addresses": [{"type": "InternalIP", "address": f"192.0.2.{10 + number}"}]},
        },
        type=Node,
    )


def slice_of(service: str, nodes: list[str]) -> EndpointSlice:
    return msgspec.convert(
        {
            "metadata": {
                "name": service,
                "namespace": "shop",
                "labels": {"kubernetes.io/service-name": service},
            },
            "addressType": "IPv4",
            "ports": [{"port": 80}],
            "endpoints": [
                {"addresses": [f"10.244.1.{number}"], "nodeName": name} for number, name in enumerate(nodes)
            ],
        },
        type=EndpointSlice,
    )


def load(path: Path) -> AnnounceView:
    found: dict[str, dict[ObjectKey, object]] = {name: {} for _, name in KINDS.values()}
    nodes = {one.key: one for one in (node(1), node(2))}
    slices: dict[ObjectKey, EndpointSlice] = {}
    for document in yaml.safe_load_all(path.read_text()):
        if document["kind"] == "Endpoints of":
            made = [slice_of(service, on) for service, on in document["nodes"].items()]
            slices = {one.key: one for one in made}
            continue
        type_, name = KINDS[document["kind"]]
        one = msgspec.convert(document, type=type_)
        found[name][one.key] = one
    return AnnounceView(nodes=nodes, slices=slices, **found)  # type: ignore[arg-type] # by kind


def said(case: str, *, is_recovering: bool = False) -> tuple[str, str]:
    """Configuration and findings of node-1."""
    view = load(HERE / case / "in.yaml")
    fabric = None
    if case == "fabric":
        fabric = PodNetwork(cluster_cidrs=CLUSTER, nodes=view.nodes, pools=view.pools, blocks=view.blocks)
    outside = Outside(
        duties=Announcing.compute(view).duties, pools=view.load_balancer_pools, services=view.services
    )
    spoken = speech(view.nodes[ObjectKey("", "node-1")], view.bgp_peers.values(), outside, fabric)
    text = render(spoken, passwords={"everything": "correct horse"}, is_recovering=is_recovering)
    return text, "".join(f"{finding}\n" for finding in spoken.findings)


@pytest.mark.parametrize("case", sorted(path.name for path in HERE.iterdir()))
def test_configurations(case: str, golden):
    text, findings = said(case)
    golden(HERE / case / "bird.conf", text)
    if findings:
        golden(HERE / case / "findings.txt", findings)


@pytest.mark.skipif(shutil.which("bird", path="/usr/sbin:/usr/bin") is None, reason="no bird")
@pytest.mark.parametrize("is_recovering", [False, True])
@pytest.mark.parametrize("case", sorted(path.name for path in HERE.iterdir()))
def test_bird_reads_them(case: str, is_recovering: bool, tmp_path):
    (tmp_path / "bird.conf").write_text(said(case, is_recovering=is_recovering)[0])
    bird = shutil.which("bird", path="/usr/sbin:/usr/bin")
    done = subprocess.run([bird, "-p", "-c", tmp_path / "bird.conf"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
