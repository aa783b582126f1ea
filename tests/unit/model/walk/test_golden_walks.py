"""Whole walks as files: a cluster as a user writes it, questions, and what is answered.

Each ``tests/golden/walk/<case>`` holds ``in.yaml`` (beside the three nodes of ``nodes.yaml``) and ``walk.txt``: questions
after ``$ why``, each followed by its answer. With --update-golden the answers are written anew; review the diff.
"""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network
from pathlib import Path

import msgspec
import pytest

from netloom.errors import NetloomError
from netloom.model.egress.settings import Egress, StaticRoute
from netloom.model.gateways.build import compute
from netloom.model.inputs import ClusterFacts
from netloom.model.routes.ways import FabricKind
from netloom.model.walk.cluster import ClusterModel
from netloom.model.walk.urls import read_asked
from netloom.observe.why import explain_in, render_text
from netloom.testing.builders import load_view
from netloom.testing.edge import announce_view, edge_view

GOLDEN = Path(__file__).parents[3] / "golden" / "walk"
FACTS = ClusterFacts(
    cluster_cidrs=(ip_network("10.244.0.0/16"), ip_network("2001:db8:f::/48")),
    service_cidrs=(ip_network("10.96.0.0/16"), ip_network("2001:db8:c::/112")),
    dns_addresses=(ip_address("10.96.0.10"),),
)
SETTINGS = {
    "egress": {
        "egress": Egress(
            no_masquerade=(ip_network("198.51.100.0/24"),),
            static_routes=(StaticRoute(ip_network("203.0.113.0/24"), ip_address("192.0.2.1")),),
        )
    },
    "node-port-addresses": {"node_port_addresses": ("192.0.2.12/32",)},
    **{f"fabric-{kind.value}": {"fabric": kind} for kind in FabricKind},
}
"""What a case says of its cluster beside FACTS."""
NOW = 1_800_000_000.0
"""In 2027."""
CASES = sorted(path.parent.name for path in GOLDEN.glob("*/in.yaml"))


def answers(case: str, asked: str) -> str:
    nodes = load_view((GOLDEN / "nodes.yaml").read_text())
    view = announce_view((GOLDEN / case / "in.yaml").read_text())
    view = msgspec.structs.replace(view, nodes={**nodes.nodes, **view.nodes})
    facts = msgspec.structs.replace(FACTS, **SETTINGS.get(case, {}))
    plan = compute(edge_view(view, (GOLDEN / case / "in.yaml").read_text(), NOW)).plan
    blocks = []
    for question in re.findall(r"^\$ why (.+)$", asked, re.MULTILINE):
        source, destination, *more = question.split()
        asked = read_asked("GET", [text for text in more if text != "-H"])
        try:
            report = explain_in(ClusterModel(view, facts, plan), source, destination, asked=asked)
        except NetloomError as error:
            text, code = f"error: {error}\n", error.exit_code
        else:
            text, code = render_text(report), report.exit_code
        blocks.append(f"$ why {question}\n{text}exit code {code}\n")
    return "\n".join(blocks)


@pytest.mark.parametrize("case", CASES)
def test_walk(case, golden):
    path = GOLDEN / case / "walk.txt"
    got = answers(case, path.read_text())
    assert got, "walk.txt asks nothing"
    golden(path, got)
