"""A store of a cluster that was stopped says nothing that only running things can say."""

from collections.abc import Iterator

import pytest

from netloom.local.apiserver import kinds
from netloom.local.apiserver.stopped import REASON, forget_what_ran
from netloom.local.apiserver.store import Store

NOW = "2026-01-02T03:04:05Z"


@pytest.fixture
def store() -> Iterator[Store]:
    kept = Store(":memory:")
    yield kept
    kept.close()


def put(store, kind, name, **body):
    meta = {"name": name, "namespace": "" if kind is kinds.NODES else "a", "uid": name, "generation": 3}
    store.put(kind, {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": meta, **body})


def got(store, kind, name):
    record = store.get(kind, "" if kind is kinds.NODES else "a", name)
    assert record is not None
    return record.document()


def test_a_node_is_not_ready_and_says_since_when(store):
    conditions = [{"type": "Ready", "status": "True"}, {"type": "DiskPressure", "status": "False"}]
    put(store, kinds.NODES, "n", status={"conditions": conditions})
    assert forget_what_ran(store, NOW) == 1
    ready, other = got(store, kinds.NODES, "n")["status"]["conditions"]
    assert (ready["status"], ready["reason"], ready["lastTransitionTime"]) == ("Unknown", REASON, NOW)
    assert other == conditions[1]


def test_a_pod_has_no_address_and_is_not_ready(store):
    status = {
        "phase": "Running",
        "podIP": "10.0.0.2",
        "podIPs": [{"ip": "10.0.0.2"}],
        "conditions": [{"type": t, "status": "True"} for t in ("PodScheduled", "Ready", "ContainersReady")],
    }
    put(store, kinds.PODS, "p", status=status)
    put(store, kinds.PODS, "ended", status={**status, "phase": "Succeeded"})
    assert forget_what_ran(store, NOW) == 1
    found = got(store, kinds.PODS, "p")["status"]
    assert "podIP" not in found
    assert "podIPs" not in found
    assert [c["status"] for c in found["conditions"]] == ["True", "False", "False"]
    assert got(store, kinds.PODS, "ended")["status"]["podIP"] == "10.0.0.2"


@pytest.mark.parametrize("kind", [kinds.DEPLOYMENTS, kinds.REPLICA_SETS])
def test_a_workload_has_no_ready_replicas(store, kind):
    put(store, kind, "w", status={"replicas": 2, "readyReplicas": 2, "availableReplicas": 2})
    assert forget_what_ran(store, NOW) == 1
    assert got(store, kind, "w")["status"] == {"replicas": 2}


def test_endpoints_that_are_pods_are_not_ready_and_acks_of_before_do_not_cover_them(store):
    pod = {
        "addresses": ["10.0.0.2"],
        "conditions": {"ready": True},
        "targetRef": {"kind": "Pod", "name": "p"},
    }
    by_hand = {"addresses": ["192.0.2.1"], "conditions": {"ready": True}}
    put(store, kinds.ENDPOINT_SLICES, "s", addressType="IPv4", endpoints=[pod, by_hand])
    put(store, kinds.ENDPOINT_SLICES, "hand", addressType="IPv4", endpoints=[by_hand])
    assert forget_what_ran(store, NOW) == 1
    found = got(store, kinds.ENDPOINT_SLICES, "s")
    assert found["endpoints"][0]["conditions"] == {"ready": False, "serving": False}
    assert found["endpoints"][1] == by_hand
    assert found["metadata"]["generation"] == 4
    assert got(store, kinds.ENDPOINT_SLICES, "hand")["metadata"]["generation"] == 3


def test_what_says_nothing_of_the_kind_is_not_written(store):
    put(store, kinds.PODS, "p", status={"phase": "Pending"})
    put(store, kinds.NODES, "n")
    before = store.revision
    assert forget_what_ran(store, NOW) == 0
    assert store.revision == before
