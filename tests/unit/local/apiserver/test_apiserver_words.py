"""Small pure parts: ages, field selectors, Accept headers, cells of tables."""

from __future__ import annotations

from typing import Any

import pytest

from netloom.local.apiserver import ages, fields, kinds, podcolumns, queries
from netloom.local.apiserver.columns import sheet
from netloom.local.apiserver.jsonvalue import Json
from netloom.local.apiserver.kind import Kind
from netloom.local.apiserver.negotiate import View, view
from netloom.local.apiserver.status import ApiError

NOW = 1_767_268_800.0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"), (-0.5, "0s"), (0, "0s"), (119, "119s"), (120, "2m"), (200, "3m20s"), (600, "10m"),
        (10_799, "179m"), (10_800, "3h"), (12_060, "3h21m"), (172_799, "47h"), (172_800, "2d"), (180_000, "2d2h"),
        (700_000, "8d"), (63_072_000, "2y"), (63_158_400, "2y1d"), (315_360_000, "10y"),
    ],
)  # fmt: skip
def test_spans(seconds: float, text: str) -> None:
    assert ages.span(seconds) == text


def test_ages() -> None:
    assert ages.age("2026-01-01T11:59:15Z", NOW) == "45s"
    assert ages.age("2026-01-01T11:59:15.500000Z", NOW) == "44s"
    assert ages.age("yesterday", NOW) == "<unknown>"
    assert ages.age(None, NOW) == "<unknown>"


def test_field_selectors_of_pods() -> None:
    running = {
        "metadata": {"name": "a"},
        "spec": {"nodeName": "node-1"},
        "status": {"phase": "Running", "podIPs": [{"ip": "10.244.0.2"}]},
    }
    values = fields.values(kinds.PODS, running) | {"metadata.name": "a"}
    for text, holds in (
        ("spec.nodeName=node-1", True),
        ("spec.nodeName==node-1,status.phase=Running", True),
        ("spec.nodeName!=node-1", False),
        ("spec.nodeName=", False),
        ("spec.hostNetwork=false", True),
        ("metadata.name=a", True),
        ("status.podIPs=10.244.0.2", True),
        ("", True),
    ):
        assert fields.parse(kinds.PODS, text).matches(values) is holds, text


def test_field_selectors_escape_what_separates() -> None:
    (term,) = fields.parse(kinds.PODS, r"metadata.name=a\,b\=c").terms
    assert term.value == "a,b=c"


@pytest.mark.parametrize("text", ["spec.color=red", "metadata.name", "metadata.labels.app=x", "=x"])
def test_field_selectors_that_are_refused(text: str) -> None:
    with pytest.raises(ApiError) as refused:
        fields.parse(kinds.PODS, text)
    assert refused.value.code == 400


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", View()),
        ("*/*", View()),
        ("application/json", View()),
        ("application/vnd.kubernetes.protobuf,application/json", View()),
        (
            "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
            View("table", "v1"),
        ),
        ("application/json;as=Table;v=v7;g=meta.k8s.io, application/json", View()),
        (
            "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json",
            View("metadata"),
        ),
        ("application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", View("aggregated", "v2")),
    ],
)
def test_what_clients_accept(accept: str, wanted: View) -> None:
    assert view(accept) == wanted


def test_only_protobuf_is_not_acceptable() -> None:
    with pytest.raises(ApiError) as refused:
        view("application/vnd.kubernetes.protobuf")
    assert refused.value.code == 406


def test_continue_tokens_are_ours_or_refused() -> None:
    assert queries.read_token(queries.token(7, ("shop", "a"))) == (7, ("shop", "a"))
    for text in ("nonsense", "", "e30", "%%%"):
        with pytest.raises(ApiError) as refused:
            queries.read_token(text)
        assert refused.value.code == 400


def a_pod(**status: Json) -> dict[str, Any]:
    return {
        "metadata": {"name": "cart-0", "creationTimestamp": "2026-01-01T11:59:00Z"},
        "spec": {"nodeName": "node-1", "containers": [{"name": "main"}, {"name": "side"}]},
        "status": status,
    }


def state(name: str = "main", **rest: Json) -> dict[str, Any]:
    return {"name": name, "ready": False, "restartCount": 0, **rest}


def test_a_running_pod() -> None:
    pod = a_pod(
        phase="Running",
        podIPs=[{"ip": "10.244.0.2"}],
        conditions=[{"type": "Ready", "status": "True"}],
        containerStatuses=[
            state(ready=True, state={"running": {}}),
            state("side", ready=False, state={"running": {}}, restartCount=2,
                  lastState={"terminated": {"finishedAt": "2026-01-01T11:59:30Z"}}),
        ],
    )  # fmt: skip
    assert podcolumns.cells(pod, NOW) == [
        "cart-0", "1/2", "Running", "2 (30s ago)", "60s", "10.244.0.2", "node-1", "<none>", "<none>",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "word"),
    [
        ({"phase": "Pending"}, "Pending"),
        ({"phase": "Failed", "reason": "Evicted"}, "Evicted"),
        ({"phase": "Pending", "containerStatuses": [state(state={"waiting": {"reason": "ContainerCreating"}})]},
         "ContainerCreating"),
        ({"phase": "Running", "containerStatuses": [state(state={"waiting": {"reason": "CrashLoopBackOff"}})]},
         "CrashLoopBackOff"),
        ({"phase": "Succeeded", "containerStatuses": [state(state={"terminated": {"reason": "Completed"}})]}, "Completed"),
        ({"phase": "Failed", "containerStatuses": [state(state={"terminated": {"exitCode": 3}})]}, "ExitCode:3"),
        ({"phase": "Failed", "containerStatuses": [state(state={"terminated": {"signal": 9}})]}, "Signal:9"),
        ({"phase": "Running", "containerStatuses": [
            state(state={"terminated": {"reason": "Completed"}}), state("side", ready=True, state={"running": {}})]},
         "NotReady"),
    ],
)  # fmt: skip
def test_the_word_for_a_pods_state(status: dict[str, Any], word: str) -> None:
    assert podcolumns.state_word(a_pod(**status)) == word


def test_init_containers_come_first() -> None:
    pod = a_pod(
        phase="Pending",
        initContainerStatuses=[state("one", state={"terminated": {"exitCode": 0}}), state("two")],
    )
    pod["spec"]["initContainers"] = [{"name": "one"}, {"name": "two"}]
    assert podcolumns.state_word(pod) == "Init:1/2"
    pod["metadata"]["deletionTimestamp"] = "2026-01-01T12:00:00Z"
    assert podcolumns.state_word(pod) == "Terminating"


def cells(kind: Kind, **document: Json) -> list[Any]:
    meta = {"name": "x", "creationTimestamp": "2026-01-01T11:59:00Z"}
    found = sheet(kind).cells({"metadata": meta, **document}, NOW)
    assert len(found) == len(sheet(kind).columns)
    return found


def test_cells_of_services() -> None:
    ports = [{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]
    spec = {"type": "NodePort", "clusterIP": "10.96.0.7", "ports": ports, "selector": {"b": "2", "a": "1"}}
    assert cells(kinds.SERVICES, spec=spec) == [
        "x", "NodePort", "10.96.0.7", "<none>", "80:30080/TCP,53/UDP", "60s", "a=1,b=2",
    ]  # fmt: skip
    balanced = {"type": "LoadBalancer", "clusterIP": "10.96.0.7"}
    assert cells(kinds.SERVICES, spec=balanced)[3] == "<pending>"
    assert (
        cells(kinds.SERVICES, spec=balanced, status={"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}})[3]
        == "192.0.2.1"
    )
    assert cells(kinds.SERVICES, spec={"type": "ExternalName", "externalName": "example.org"})[2:4] == [
        "<none>",
        "example.org",
    ]


def test_cells_of_nodes() -> None:
    node = {
        "metadata": {"name": "node-1", "creationTimestamp": "2026-01-01T11:59:00Z",
                     "labels": {"node-role.kubernetes.io/control-plane": ""}},
        "spec": {"unschedulable": True},
        "status": {"conditions": [{"type": "Ready", "status": "True"}],
                   "addresses": [{"type": "InternalIP", "address": "172.30.0.11"}],
                   "nodeInfo": {"kubeletVersion": "v1.34.0"}},
    }  # fmt: skip
    found = sheet(kinds.NODES).cells(node, NOW)
    assert found[:7] == [
        "node-1", "Ready,SchedulingDisabled", "control-plane", "60s", "v1.34.0", "172.30.0.11", "<none>",
    ]  # fmt: skip


def test_cells_of_the_rest() -> None:
    endpoints = [{"addresses": [f"10.244.0.{i}"]} for i in range(1, 6)]
    assert cells(kinds.ENDPOINT_SLICES, addressType="IPv4", endpoints=endpoints, ports=[{"port": 8080}])[1:4] == [
        "IPv4", "8080", "10.244.0.1,10.244.0.2,10.244.0.3 + 2 more...",
    ]  # fmt: skip
    subsets = [{"addresses": [{"ip": "10.244.0.1"}], "ports": [{"port": 80}, {"port": 443}]}]
    assert cells(kinds.ENDPOINTS, subsets=subsets)[1] == "10.244.0.1:80,10.244.0.1:443"
    assert cells(kinds.ENDPOINTS)[1] == "<none>"
    spec = {"replicas": 3, "selector": {"matchLabels": {"a": "b"}},
            "template": {"spec": {"containers": [{"name": "m", "image": "i"}]}}}  # fmt: skip
    assert cells(kinds.DEPLOYMENTS, spec=spec, status={"readyReplicas": 2, "updatedReplicas": 3})[1:] == [
        "2/3", 3, 0, "60s", "m", "i", "a=b",
    ]  # fmt: skip
    assert cells(kinds.REPLICA_SETS, spec=spec, status={"replicas": 3})[1:4] == [3, 3, 0]
    policy = {"podSelector": {"matchExpressions": [{"key": "tier", "operator": "In", "values": ["b", "a"]}]}}
    assert cells(kinds.NETWORK_POLICIES, spec=policy)[1] == "tier in (a,b)"
    assert cells(kinds.NETWORK_POLICIES, spec={"podSelector": {}})[1] == "<none>"
    about = {"kind": "Pod", "name": "cart-0"}
    event = cells(kinds.EVENTS, involvedObject=about, type="Normal", reason="Started", message="up ",
                  lastTimestamp="2026-01-01T11:59:30Z", count=2, source={"component": "runner", "host": "node-1"})  # fmt: skip
    assert event[:4] == ["30s", "Normal", "Started", "pod/cart-0"]
    assert event[5:7] == ["runner, node-1", "up"]
    for kind in kinds.ALL:
        cells(kind)
