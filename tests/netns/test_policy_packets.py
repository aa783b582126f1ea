"""Every way between pods, nodes, Services and the world outside, with policies, by real packets; each row is written by hand.

A row is ``who where fate``, in both families unless it begins with ``4`` or ``6``. Who: a pod, a node or the ``client`` behind node-1.
Where: one of these or ``service``, with a port and perhaps ``/udp``. Fate: ``yes`` or ``no``. Where policy sees other ends than these,
they follow: ``behind b/q:8080`` (the backend) and ``as node-1`` (the sender); ``from b/q`` is who answers in the end. The naive reading is asked about each row, too, and what
a policy denies is asked again without any policy.
"""

from __future__ import annotations

import msgspec
import pytest

from netloom.api.core import ContainerPort
from netloom.api.meta import KubeObject
from netloom.model.inputs import ClusterView
from netloom.testing import builders as b
from netloom.testing.naive_policy import Packet, naive
from netloom.testing.policy_rig import PODS, PolicyRig, Question, policy_rig, rig_objects
from netloom.testing.topologies import pod_cidrs
from netloom.units import Addr, Family, Protocol, parse_addr

pytestmark = pytest.mark.netns

SERVICE = ("10.96.0.80", "2001:db8:96::80")
LABELS = {
    "a/p": {"app": "web"},
    "a/q": {"app": "db"},
    "b/p": {"app": "web"},
    "b/q": {"app": "db"},
}
NAMESPACES = {"a": {"team": "one"}, "b": {"team": "two"}, "c": {"team": "one", "env": "dev"}}
NAMED = {
    "a/q": (ContainerPort(80, "http"),),
    "b/q": (ContainerPort(8080, "http"), ContainerPort(80, "http", protocol="UDP")),
}
CLUSTER = rig_objects(LABELS, NAMESPACES, NAMED, {"node-1": {"role": "edge"}})
DENIED = "a row that is denied although no policy is there"


def service(*backends: str, **spec: str) -> list[KubeObject]:
    """A Service of both families at port 80 and NodePort 30080, with port 8080 of these pods behind it."""
    found: list[KubeObject] = [
        b.service("a/x", *SERVICE, ports=[b.port(80, node_port=30080)], type="NodePort", **spec)
    ]
    for index, family in enumerate(Family):
        places = [(PODS[name], f"node-{PODS[name][0]}") for name in backends]
        endpoints = [
            b.endpoint(str(pod_cidrs(number)[index].network_address + part), node=node)
            for (number, part), node in places
        ]
        found.append(b.endpoint_slice(f"a/{family.value}", "x", *endpoints, address_type=family.address_type))
    return found


class Case(msgspec.Struct, frozen=True):
    """Policies, what happens, and what else is there."""

    policies: str
    rows: str
    objects: tuple[KubeObject, ...] = ()


def policy(name: str, spec: str, *, kind: str = "NetworkPolicy") -> str:
    namespace, _, name = name.rpartition("/")
    group = "networking.k8s.io/v1" if kind == "NetworkPolicy" else "policy.networking.k8s.io/v1alpha2"
    where = f", namespace: {namespace}" if namespace else ""
    return f"apiVersion: {group}\nkind: {kind}\nmetadata: {{name: {name}{where}}}\nspec: {spec}\n---\n"


def tier(name: str, spec: str) -> str:
    return policy(name, spec, kind="ClusterNetworkPolicy")


NOBODY_IN = policy("a/in", "{podSelector: {}, policyTypes: [Ingress]}")
NOBODY_OUT = policy("a/out", "{podSelector: {}, policyTypes: [Egress]}")
DB_FROM_WEB = """{podSelector: {matchLabels: {app: db}}, ingress: [{
  from: [{namespaceSelector: {}, podSelector: {matchLabels: {app: web}}}], ports: [{port: 8080}]}]}"""

CASES = {
    "nobody comes in": Case(
        NOBODY_IN,
        """
        a/p    a/q:80       no
        b/p    a/q:80       no
        b/q    a/q:80       no
        b/q    a/q:80/udp   no
        client a/q:8080     no
        client a/q:80/udp   no
        node-1 a/q:80       yes
        node-1 a/p:80/udp   yes
        node-2 a/q:80       no
        a/p    a/p:80       yes
        a/p    b/p:80       yes
        a/p    b/q:80/udp   yes
        a/p    client:80    yes
        a/p    node-1:80    yes
        a/p    node-2:80/udp yes
        c/p    b/q:80       yes
        client b/p:80       yes
        """,
    ),
    "nobody gets out": Case(
        NOBODY_OUT,
        """
        a/p    a/q:80       no
        a/p    b/q:80       no
        a/p    b/q:80/udp   no
        a/p    client:80    no
        a/p    client:80/udp no
        a/p    node-1:80    no
        a/p    node-1:80/udp no
        a/p    node-2:80    no
        a/p    a/p:80       yes
        b/q    a/p:80       yes
        client a/p:80/udp   yes
        node-1 a/p:80       yes
        node-2 a/p:80       yes
        """,
    ),
    "both ends must agree": Case(
        policy("a/out", "{podSelector: {}, egress: [{to: [{namespaceSelector: {matchLabels: {team: two}}}]}],"
               " policyTypes: [Egress]}")
        + policy("b/in", "{podSelector: {matchLabels: {app: db}}, ingress: [{from:"
                 " [{namespaceSelector: {matchLabels: {team: one}}, podSelector: {matchLabels: {app: web}}}]}]}"),
        """
        a/p    b/q:80       yes
        a/q    b/q:80       no
        a/q    b/p:80       yes
        a/p    a/q:80       no
        b/p    b/q:80       no
        c/p    b/q:80       no
        b/q    a/p:80       yes
        """,
    ),
    "a Service shows the backend and its port": Case(
        policy("b/db", DB_FROM_WEB),
        """
        a/p    service:80   yes behind b/q:8080
        b/p    service:80   yes behind b/q:8080
        a/q    service:80   no  behind b/q:8080
        c/p    service:80   no  behind b/q:8080
        b/q    service:80   yes behind b/q:8080
        a/p    b/q:8080     yes
        a/p    b/q:80       no
        node-1 service:80   no  behind b/q:8080
        node-2 service:80   yes behind b/q:8080
        client node-1:30080 no  behind b/q:8080 as node-1
        client node-2:30080 no  behind b/q:8080
        a/p    node-1:30080 yes behind b/q:8080
        a/q    node-1:30080 no  behind b/q:8080
        """,
        (*service("b/q"),),
    ),
    "the Service's own port and address are no matter of policies": Case(
        policy("a/p", """{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [
          {to: [{ipBlock: {cidr: 10.96.0.0/16}}, {ipBlock: {cidr: "2001:db8:96::/64"}}]},
          {ports: [{port: 80}]}]}""")
        + policy("a/q", """{podSelector: {matchLabels: {app: db}}, policyTypes: [Egress], egress: [
          {to: [{namespaceSelector: {}, podSelector: {matchLabels: {app: db}}}], ports: [{port: 8080}]}]}"""),
        """
        a/p    service:80   no  behind b/q:8080
        a/q    service:80   yes behind b/q:8080
        a/p    b/q:80       yes
        a/q    b/q:80       no
        a/q    node-1:30080 yes behind b/q:8080
        a/p    node-2:30080 no  from b/q
        """,
        (*service("b/q"),),
    ),
    "NodePort, Cluster: the node that was asked, unless the backend is there": Case(
        policy("b/db", """{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 192.0.2.0/24}},
          {ipBlock: {cidr: "2001:db8:c::/48"}}]}]}"""),
        """
        client node-2:30080 yes behind b/q:8080
        client node-1:30080 no  behind b/q:8080 as node-1
        client b/q:8080     yes
        node-1 b/q:8080     no
        a/p    b/q:8080     no
        """,
        (*service("b/q"),),
    ),
    "NodePort, Cluster: a policy for the other node": Case(
        policy("b/db", """{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 172.30.0.11/32}},
          {ipBlock: {cidr: "2001:db8:30::11/128"}}]}]}"""),
        """
        client node-1:30080 yes behind b/q:8080 as node-1
        client node-2:30080 no  behind b/q:8080
        client b/q:8080     no
        node-1 b/q:8080     yes
        """,
        (*service("b/q"),),
    ),
    "NodePort, Local: the client itself": Case(
        policy("a/db", """{podSelector: {matchLabels: {app: db}}, ingress: [{from: [
          {ipBlock: {cidr: 0.0.0.0/0, except: [192.0.2.0/24]}},
          {ipBlock: {cidr: "::/0", except: ["2001:db8:c::/48"]}}]}]}"""),
        """
        client node-1:30080 no  behind a/q:8080
        client a/q:80       no
        b/q    a/q:80       yes
        b/q    node-1:30080 yes behind a/q:8080
        node-2 node-1:30080 yes behind a/q:8080
        """,
        (*service("a/q", external_traffic_policy="Local"),),
    ),
    "a pod and itself": Case(
        NOBODY_IN + NOBODY_OUT,
        """
        a/q    service:80   yes behind a/q:8080
        a/q    a/q:80       yes
        a/p    service:80   no  behind a/q:8080
        """,
        (*service("a/q"),),
    ),
    "a pod and itself, and a tier": Case(
        NOBODY_IN + NOBODY_OUT
        + tier("all", """{tier: Admin, priority: 1, subject: {namespaces: {}},
          ingress: [{action: Deny, from: [{namespaces: {}}]}],
          egress: [{action: Deny, to: [{networks: [0.0.0.0/0, "::/0"]}]}]}"""),
        """
        a/q    service:80   no  behind a/q:8080
        a/p    service:80   no  behind a/q:8080
        node-1 service:80   yes behind a/q:8080
        node-1 b/p:80       yes
        b/p    b/q:80       no
        """,
        (*service("a/q"),),
    ),
    "the world outside": Case(
        policy("a/p", """{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress, Ingress],
          ingress: [{from: [{ipBlock: {cidr: 192.0.2.16/28}}, {ipBlock: {cidr: "2001:db8:c:1::2/128"}}]}],
          egress: [{to: [{ipBlock: {cidr: 192.0.2.18/32}}, {ipBlock: {cidr: "2001:db8:c::/48"}}]}]}""")
        + policy("a/q", """{podSelector: {matchLabels: {app: db}}, policyTypes: [Egress],
          egress: [{to: [{ipBlock: {cidr: 192.0.0.0/8, except: [192.0.2.0/24]}},
          {ipBlock: {cidr: "2001:db8::/32", except: ["2001:db8:c:1::/64", "2001:db8:44:2::/64"]}}]}]}"""),
        """
          client a/p:80       yes
          client a/p:80/udp   yes
          a/p    client:80    yes
          a/p    client:80/udp yes
          a/p    b/p:80       no
          b/p    a/p:80       no
          a/q    client:80    no
          a/q    b/q:80       no
        4 a/q    b/p:80       no
        6 a/q    b/p:80       yes
        6 a/q    node-2:80    yes
        4 a/q    node-2:80    no
        """,
    ),
    "one family only": Case(
        policy("a/q", "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}]}]}")
        + policy("b/q", '{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{ipBlock: {cidr: "::/0"}}]}]}'),
        """
        4 a/p    a/q:80       yes
        6 a/p    a/q:80       no
        4 a/p    b/q:80       no
        6 a/p    b/q:80       yes
        4 client a/q:80/udp   yes
        6 client a/q:80/udp   no
        """,
    ),
    "ports by number, name, range and protocol": Case(
        policy("a/q", "{podSelector: {matchLabels: {app: db}}, ingress: [{ports: [{port: http}]}]}")
        + policy("b/q", "{podSelector: {matchLabels: {app: db}}, ingress: [{ports: [{port: http, protocol: UDP},"
                 " {port: 8000, endPort: 8080}]}]}")
        + policy("c/p", "{podSelector: {}, ingress: [{ports: [{protocol: UDP}, {protocol: SCTP, port: 7}]}]}"),
        """
        a/p    a/q:80       yes
        a/p    a/q:8080     no
        a/p    a/q:80/udp   no
        b/p    b/q:80/udp   yes
        b/p    b/q:8080     yes
        b/p    b/q:80       no
        b/p    b/q:8080/udp no
        b/p    c/p:80/udp   yes
        b/p    c/p:80       no
        """,
    ),
    "named ports on the way out": Case(
        policy("a/p", "{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{ports: [{port: http}]}]}")
        + policy("b/p", "{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{to:"
                 " [{podSelector: {}}], ports: [{port: http}, {port: http, protocol: UDP}]}]}"),
        """
        a/p    a/q:80       yes
        a/p    a/q:8080     no
        a/p    b/q:8080     yes
        a/p    b/q:80       no
        a/p    c/p:80       no
        a/p    client:80    no
        a/p    node-1:80    no
        b/p    b/q:80/udp   yes
        b/p    b/q:8080/udp no
        b/p    b/q:8080     yes
        b/p    a/q:80       no
        """,
    ),
    "a policy for the other direction says nothing": Case(
        NOBODY_OUT + tier("base", """{tier: Baseline, priority: 1, subject: {namespaces: {matchLabels: {team: one}}},
          ingress: [{action: Deny, from: [{namespaces: {matchLabels: {team: two}}}]}]}"""),
        """
        b/p    a/p:80       no
        c/p    a/p:80       yes
        b/p    c/p:80       no
        client a/p:80       yes
        """,
    ),
    "Admin before NetworkPolicy before Baseline": Case(
        policy("a/q", "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{namespaceSelector: {}}]}]}")
        + policy("b/none", "{podSelector: {}}")
        + tier("first", """{tier: Admin, priority: 1, subject: {namespaces: {}}, ingress: [
          {action: Deny, from: [{pods: {namespaceSelector: {matchLabels: {team: two}}, podSelector: {matchLabels: {app: web}}}}]},
          {action: Pass, from: [{namespaces: {matchLabels: {env: dev}}}]},
          {action: Accept, from: [{namespaces: {matchLabels: {team: one}}}], protocols: [{tcp: {destinationPort: {number: 80}}}]}]}""")
        + tier("later", """{tier: Admin, priority: 2, subject: {namespaces: {}}, ingress: [
          {action: Accept, from: [{namespaces: {}}], protocols: [{tcp: {destinationPort: {number: 80}}}]},
          {action: Pass, from: [{namespaces: {}}]}]}""")
        + tier("base", """{tier: Baseline, priority: 1, subject: {namespaces: {}}, ingress: [
          {action: Deny, from: [{namespaces: {}}]}]}"""),
        """
        b/p    a/q:80       no
        c/p    a/q:8080     yes
        c/p    a/p:8080     no
        c/p    b/q:80       no
        a/p    b/q:80       yes
        a/p    b/q:8080     no
        b/q    a/p:80       yes
        b/q    a/p:8080     no
        b/q    a/q:8080     yes
        client a/p:8080     yes
        client b/q:80       no
        """,
    ),
    "Pass leads to isolation, also by a policy without rules": Case(
        policy("a/none", "{podSelector: {}, policyTypes: [Ingress, Egress]}")
        + tier("pass", """{tier: Admin, priority: 1, subject: {namespaces: {}},
          ingress: [{action: Pass, from: [{namespaces: {}}]}],
          egress: [{action: Pass, to: [{networks: [0.0.0.0/0, "::/0"]}]}]}"""),
        """
        b/p    a/p:80       no
        a/p    b/p:80       no
        a/p    client:80    no
        b/p    b/q:80       yes
        """,
    ),
    "Pass in the last tier": Case(
        tier("base", """{tier: Baseline, priority: 1, subject: {namespaces: {matchLabels: {team: one}}}, ingress: [
          {action: Pass, from: [{namespaces: {matchLabels: {env: dev}}}]},
          {action: Deny, from: [{namespaces: {}}]}]}"""),
        """
        c/p    a/p:80       yes
        b/p    a/p:80       no
        client a/p:80       yes
        """,
    ),
    "nodes and networks": Case(
        tier("edge", """{tier: Admin, priority: 1, subject: {namespaces: {matchLabels: {team: one}}}, egress: [
          {action: Accept, to: [{nodes: {matchLabels: {role: edge}}}], protocols: [{tcp: {destinationPort: {number: 80}}}]},
          {action: Deny, to: [{nodes: {}}]},
          {action: Deny, to: [{networks: [192.0.2.0/24, "2001:db8:c::/48"]}],
           protocols: [{udp: {destinationPort: {range: {start: 80, end: 90}}}}]}]}"""),
        """
        a/p    node-1:80    yes
        a/p    node-1:8080  no
        a/p    node-2:80    no
        c/p    node-1:80    yes
        c/p    node-2:80    no
        b/p    node-2:80    yes
        a/p    client:80    yes
        a/p    client:80/udp no
        a/p    client:8080/udp yes
        a/p    b/q:80/udp   yes
        """,
    ),
}  # fmt: skip


class Row(msgspec.Struct, frozen=True):
    """A question, who answers unless a policy stops it, and the packet as policy sees it."""

    text: str
    question: Question
    answerer: str
    seen: Packet
    is_allowed: bool


def rows_of(rig: PolicyRig, text: str) -> list[Row]:
    return [
        row_of(rig, line.strip(), family)
        for line in filter(str.strip, text.splitlines())
        for family, digit in ((Family.V4, "4"), (Family.V6, "6"))
        if line.split()[0] in {digit, *rig.hosts}
    ]


def row_of(rig: PolicyRig, line: str, family: Family) -> Row:
    words = line.split()
    who, where, fate, *more = words[1:] if words[0] in {"4", "6"} else words
    extras = dict(zip(more[::2], more[1::2], strict=True))
    to, port, protocol = place_of(rig, where, family)
    behind, seen_port, _ = place_of(rig, extras.get("behind", where), family)
    owner = next((name for name, host in rig.hosts.items() if behind in host.addresses), "")
    assert owner, f"nobody has {behind}: {line}"
    seen = Packet(rig.address(extras.get("as", who), family), behind, protocol, seen_port)
    return Row(line, Question(who, to, port, protocol), extras.get("from", owner), seen, fate == "yes")


def place_of(rig: PolicyRig, text: str, family: Family) -> tuple[Addr, int, Protocol]:
    name, _, port = text.removesuffix("/udp").rpartition(":")
    word = Protocol.UDP if text.endswith("/udp") else Protocol.TCP
    if name == "service":
        address = parse_addr(SERVICE[list(Family).index(family)])
        assert address is not None
        return address, int(port), word
    return rig.address(name, family), int(port), word


async def check(rig: PolicyRig, case: Case) -> None:
    there = [*CLUSTER, *case.objects]
    view = with_policies(there, case.policies)
    rows = rows_of(rig, case.rows)
    for row in rows:
        verdict = naive(view, row.seen)
        assert verdict.allowed == row.is_allowed, (
            f"the naive reading and the row disagree: {row.text}: {verdict}"
        )
    await rig.put(view)
    expected = {row.question: row.answerer if row.is_allowed else "" for row in rows}
    assert await rig.contradictions(expected) == []
    await rig.put(b.view(*there))
    assert await rig.contradictions({row.question: row.answerer for row in rows}) == [], DENIED


def with_policies(objects: list[KubeObject], policies: str) -> ClusterView:
    read = b.load_view(policies)
    return b.view(*objects, *read.policies.values(), *read.cluster_policies.values())


async def test_table():
    """All cases on the same nodes, one after the other."""
    async with policy_rig() as rig:
        await rig.put(b.view(*CLUSTER))
        for name, case in CASES.items():
            try:
                await check(rig, case)
            except AssertionError as error:
                raise AssertionError(f"{name}: {error}") from error


async def test_policies_outlive_the_agent_and_a_restart_finds_what_changed():
    """With other policies, labels and pods than before, in all of which a restart may go wrong: open, closed, or half of both."""
    before = with_policies(CLUSTER, NOBODY_IN + policy("b/db", DB_FROM_WEB))
    other = rig_objects({**LABELS, "a/q": {"app": "web"}, "b/p": {}}, NAMESPACES, NAMED)
    after = with_policies(other, NOBODY_OUT + policy("b/db", DB_FROM_WEB))
    questions = "a/p a/q:80 yes\na/p b/q:8080 yes\na/q b/q:8080 yes\nb/p b/q:8080 yes\nb/q a/q:80 yes\nc/p b/q:80 yes\nb/p a/p:80 yes"

    def expected(rig: PolicyRig, view: ClusterView) -> dict[Question, str]:
        rows = rows_of(rig, questions)
        return {row.question: row.answerer if naive(view, row.seen).allowed else "" for row in rows}

    async with policy_rig() as rig:
        await rig.put(before)
        assert await rig.contradictions(expected(rig, before)) == []
        for view in (after, with_policies(CLUSTER, ""), before):
            held = expected(rig, rig.view)
            assert expected(rig, view) != held
            with rig.restarted():
                assert await rig.contradictions(held) == [], "nobody is there, and all stays as it was"
                await rig.put(view)
                assert await rig.contradictions(expected(rig, view)) == []
            assert await rig.contradictions(expected(rig, view)) == []
