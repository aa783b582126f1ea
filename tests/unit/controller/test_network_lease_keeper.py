"""Which addresses of pools come free because nobody gives them back, and when."""

from netloom.api.meta import ObjectMeta
from netloom.api.networks import LeaseHolder, NetworkLease, NetworkLeaseSpec
from netloom.controller.network_leases import PATIENCE_S, READY_PATIENCE_S, Observations, overdue


def lease(name, *, until="", **holder):
    spec = NetworkLeaseSpec("blue", "192.0.2.5", LeaseHolder(**holder), until)
    return NetworkLease(metadata=ObjectMeta(name=name, uid=f"uid-{name}"), spec=spec)


OF_POD = lease("a", pod="shop/cart", uid="pod-1", node="node-1", container="c1", interface="net1")


def doomed(observations, leases, now, *, uids=(), names=(), ready=()):
    found = observations.doomed(leases, uids=set(uids), names=set(names), ready=set(ready), now=now)
    return [one.metadata.name for one in found]


def test_a_pod_that_is_there_keeps_its_address():
    observations = Observations()
    for now in (0, 1000, 2000):
        assert doomed(observations, [OF_POD], now, uids=["pod-1"]) == []


def test_one_look_is_never_enough_and_two_are_with_time_between():
    observations = Observations()
    assert doomed(observations, [OF_POD], 0) == []
    assert doomed(observations, [OF_POD], PATIENCE_S - 1) == []
    assert doomed(observations, [OF_POD], PATIENCE_S) == ["a"]
    # a look of long ago counts as the first one only
    assert doomed(Observations(), [OF_POD], 1e9) == []


def test_a_pod_that_comes_back_into_view_begins_anew():
    observations = Observations()
    assert doomed(observations, [OF_POD], 0) == []
    assert doomed(observations, [OF_POD], 100, uids=["pod-1"]) == []
    assert doomed(observations, [OF_POD], 101) == []


def test_a_ready_node_is_given_the_time_to_do_it_itself():
    observations = Observations()
    for now in (0, PATIENCE_S, READY_PATIENCE_S - 1):
        assert doomed(observations, [OF_POD], now, ready=["node-1"]) == []
    assert doomed(observations, [OF_POD], READY_PATIENCE_S, ready=["node-1"]) == ["a"]


def test_a_pod_of_the_same_name_is_another_pod():
    observations = Observations()
    doomed(observations, [OF_POD], 0, uids=["pod-2"], names=["shop/cart"])
    assert doomed(observations, [OF_POD], 100, uids=["pod-2"], names=["shop/cart"]) == ["a"]


def test_without_a_uid_the_name_counts_and_without_a_name_nobody_can_know():
    named = lease("n", pod="shop/cart", container="c", interface="net1")
    nameless = lease("x", container="c", interface="net1")
    observations = Observations()
    for now in (0, 1000):
        assert doomed(observations, [named, nameless], now, names=["shop/cart"]) == []
    doomed(observations, [named, nameless], 2000)
    assert doomed(observations, [named, nameless], 3000) == ["n"]


def test_what_is_kept_for_a_name_goes_when_its_time_is_over_and_not_by_looks():
    kept = lease("k", until="2026-01-01T00:00:10Z", pod="shop/cart", interface="net1")
    observations = Observations()
    for now in (0, 1000):
        assert doomed(observations, [kept], now) == []
    assert overdue([kept, OF_POD], "2026-01-01T00:00:09Z") == []
    assert overdue([kept, OF_POD], "2026-01-01T00:00:10Z") == [kept]
