"""Policies as manifests, and who reaches whom: what the field teaches from, and every category of policies, in words of our own.

Each ``policy/<case>/`` holds ``1.yaml``, and ``2.yaml`` and on where it goes on: what is there then beside ``policy/cluster.yaml``, with
what is expected in words at its head. ``matrix.txt`` has a table for each of them and each group of ports: who in the rows, whom in the
columns, ``.`` where it passes and ``X`` where it does not. All voices have to say the same, with addresses of one family and of both; the
model both at once and going from step to step. With --update-golden the tables are written from the naive reading; review the diff.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import msgspec
import pytest

from netloom.api.core import Node, NodeStatus, Pod, PodStatus
from netloom.model.facts import facts_of
from netloom.model.inputs import Changes, ClusterView, NodeFacts
from netloom.model.policy.cluster import PolicyCluster
from netloom.model.policy.judge import Judge
from netloom.model.policy.policies import Policies
from netloom.model.policy.state import Action, Direction
from netloom.model.policy.verdicts import Traffic, decide
from netloom.model.state import changed_values
from netloom.testing.builders import load_view
from netloom.testing.naive_policy import Packet, naive
from netloom.testing.service_universe import CLUSTER
from netloom.units import Addr, Family, Protocol, family_of

HERE = Path(__file__).parent / "policy"
CASES = sorted(path.parent.name for path in HERE.glob("*/1.yaml"))
PORTS = ((80, Protocol.TCP), (8080, Protocol.TCP), (53, Protocol.UDP), (80, Protocol.SCTP))
CLIENT = ("198.51.100.7", "2001:db8:ffff::7")
STACKS = {"IPv4": (Family.V4,), "IPv6": (Family.V6,), "dual stack": (Family.V4, Family.V6)}
Table = dict[tuple[str, str], str]


def steps(case: str) -> list[ClusterView]:
    """The cluster as it is at each step."""
    found = []
    base = load_view((HERE / "cluster.yaml").read_text())
    for path in sorted((HERE / case).glob("*.yaml")):
        more = load_view(path.read_text())
        fields = {
            name: {**getattr(base, name), **getattr(more, name)} for name in ClusterView.__struct_fields__
        }
        found.append(ClusterView(**fields))
    return found


def in_stack(view: ClusterView, families: tuple[Family, ...]) -> ClusterView:
    """The same cluster with addresses of these families only."""

    def keeps(text: str) -> bool:
        return family_of(ip_address(text)) in families

    def pod(one: Pod) -> Pod:
        status = PodStatus(one.status.phase, pod_ips=tuple(ip for ip in one.status.pod_ips if keeps(ip.ip)))
        return msgspec.structs.replace(one, status=status)

    def node(one: Node) -> Node:
        status = NodeStatus(tuple(a for a in one.status.addresses if keeps(a.address)))
        return msgspec.structs.replace(one, status=status)

    return msgspec.structs.replace(
        view,
        pods={key: pod(one) for key, one in view.pods.items()},
        nodes={key: node(one) for key, one in view.nodes.items()},
    )


def ends(view: ClusterView, family: Family) -> dict[str, Addr]:
    """Pods, nodes and a client outside by their names."""
    places = {str(key): [ip.ip for ip in pod.status.pod_ips] for key, pod in view.pods.items()}
    places |= {str(key): [a.address for a in node.status.addresses] for key, node in view.nodes.items()}
    places["client"] = list(CLIENT)
    addresses = {name: [ip_address(text) for text in texts] for name, texts in places.items()}
    return {name: next(a for a in some if family_of(a) is family) for name, some in addresses.items()}


def pairs(view: ClusterView, family: Family) -> Iterator[tuple[str, Addr, str, Addr]]:
    """Who and whom: a pod is at one end at least."""
    there = ends(view, family)
    for (who, source), (whom, to) in itertools.product(there.items(), there.items()):
        if who != whom and ("/" in who or "/" in whom):
            yield who, source, whom, to


def table_of(view: ClusterView, family: Family, port: int, protocol: Protocol) -> Table:
    """Who reaches whom, as the naive reading says."""
    return {
        (who, whom): "." if naive(view, Packet(source, to, protocol, port)).allowed else "X"
        for who, source, whom, to in pairs(view, family)
    }


def written(views: list[ClusterView]) -> str:
    """All tables as text; ports, and families, with the same table stand together."""
    blocks = []
    for number, view in enumerate(views, 1):
        tables: dict[str, tuple[Table, list[str]]] = {}
        for family, (port, protocol) in itertools.product(Family, PORTS):
            table = table_of(view, family, port, protocol)
            label = f"{port}/{protocol.word} IPv{4 if family is Family.V4 else 6}"
            tables.setdefault(repr(table), (table, []))[1].append(label)
        for table, titles in tables.values():
            title = _shortened(titles)
            blocks.append(f"# step {number}: {title}\n{_drawn(table)}")
    return "\n".join(blocks)


def _shortened(titles: list[str]) -> str:
    by_port: dict[str, list[str]] = {}
    for title in titles:
        port, family = title.split()
        by_port.setdefault(port, []).append(family)
    if len(titles) == len(PORTS) * 2:
        return "every port"
    return ", ".join(port if len(some) == 2 else f"{port} {some[0]}" for port, some in by_port.items())


def _drawn(table: Table) -> str:
    names = list(dict.fromkeys(name for pair in table for name in pair))
    width = max(map(len, names))
    lines = [" " * width + "  " + " ".join(names)]
    for who in names:
        cells = (table.get((who, whom), " ").center(len(whom)) for whom in names)
        lines.append(f"{who:<{width}}  {' '.join(cells)}".rstrip())
    return "\n".join(lines) + "\n"


def read(text: str, number: int) -> dict[tuple[Family, int, Protocol], Table]:
    """The tables of a step, from the file."""
    found: dict[tuple[Family, int, Protocol], Table] = {}
    for block in filter(str.strip, text.split("# step ")):
        head, columns, *rows = block.rstrip("\n").splitlines()
        step, _, title = head.partition(": ")
        if int(step) != number:
            continue
        table = _table(columns, rows)
        for words in (
            ["80/tcp", "8080/tcp", "53/udp", "80/sctp"] if title == "every port" else title.split(", ")
        ):
            place, _, family = words.partition(" ")
            port, word = place.split("/")
            for one in Family:
                if family in ("", f"IPv{4 if one is Family.V4 else 6}"):
                    found[one, int(port), Protocol(word.upper())] = table
    return found


def _table(columns: str, rows: list[str]) -> Table:
    table = {}
    for row in rows:
        who = row.split()[0]
        for whom in columns.split():
            start = columns.index(f" {whom} " if f" {whom} " in columns else f" {whom}") + 1
            cell = row[start : start + len(whom)].strip()
            if cell:
                table[who, whom] = cell
    return table


@pytest.mark.parametrize("case", CASES)
def test_the_naive_reading(case, golden):
    golden(HERE / case / "matrix.txt", written(steps(case)))


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("case", CASES)
def test_the_model(case, stack):
    """As it judges from objects, and as the state of each node, updated from step to step."""
    text = (HERE / case / "matrix.txt").read_text()
    before: ClusterView | None = None
    nodes: dict[str, Policies] = {}
    for number, whole in enumerate(steps(case), 1):
        view = in_stack(whole, STACKS[stack])
        judge = Judge(PolicyCluster.of(view))
        for name, facts in node_facts(view).items():
            nodes.setdefault(name, Policies(facts)).update(changes(before, view))
            assert nodes[name].state == Policies.compute(view, facts)
        before = view
        for (family, port, protocol), table in read(text, number).items():
            if family not in STACKS[stack]:
                continue
            for who, source, whom, to in pairs(view, family):
                traffic = Traffic(source, to, protocol, port)
                judged = all(one.is_allowed for one in judge.both(traffic))
                assert (who, whom, "." if judged else "X") == (who, whom, table[who, whom]), (number, traffic)
                assert decided(view, nodes, who, whom, traffic) == judged, (number, who, whom, traffic)


def node_facts(view: ClusterView) -> dict[str, NodeFacts]:
    return {key.name: facts_of(node, CLUSTER) for key, node in view.nodes.items()}


def decided(view: ClusterView, nodes: dict[str, Policies], who: str, whom: str, traffic: Traffic) -> bool:
    """What the nodes of the two ends do with a packet."""
    homes = {str(key): pod.spec.node_name for key, pod in view.pods.items()}
    return all(
        decide(nodes[homes[end]].state, direction, traffic).action is Action.ACCEPT
        for end, direction in ((who, Direction.EGRESS), (whom, Direction.INGRESS))
        if end in homes
    )


def changes(before: ClusterView | None, after: ClusterView) -> Changes:
    was = before if before is not None else ClusterView()
    fields = {
        name: changed_values(getattr(was, name), getattr(after, name))
        for name in ClusterView.__struct_fields__
    }
    return Changes(**fields)


def test_every_table_says_something():
    """Each step of each case both lets something through and stops something, but for those that are about nothing."""
    about_nothing = {
        ("target-nobody", 1),
        ("updates-of-policies", 3),
        ("updates-of-policies", 5),
        ("rules-of-a-direction-that-is-not-named", 1),
    }
    for case in CASES:
        for number, _ in enumerate(steps(case), 1):
            tables = read((HERE / case / "matrix.txt").read_text(), number)
            cells = {cell for table in tables.values() for cell in table.values()}
            expected = {"."} if (case, number) in about_nothing else {".", "X"}
            assert cells == expected, (case, number)
