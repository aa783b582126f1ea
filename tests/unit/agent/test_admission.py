"""Which addresses pods of a node have for the model, while status, CNI and the API server's list say different things."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address

import msgspec
import pytest

from netloom.agent.admission import Admission
from netloom.clock import SystemClock
from netloom.cni.ipam.store import Attachment, Lease
from netloom.engine.acks import Acks
from netloom.engine.pending import Pending
from netloom.errors import Unavailable
from netloom.model.routes.local_pods import given_addresses, holder_rank
from netloom.testing import builders as b

NODE = "node-1"
CART = b.key_of("shop/cart")
A, B, C = (ip_address(f"10.244.1.{n}") for n in (1, 2, 3))


class Bench:
    """An admission, and what it has told the model."""

    def __init__(self, *leases):
        self.pending = Pending(clock=SystemClock())
        self.acks = Acks()
        self.pods = {}
        self.admission = Admission(node=NODE, mark=self.mark, acks=self.acks)
        self.admission.remember(leases)

    def mark(self, key, pod):
        if pod is None:
            self.pods.pop(key, None)
        else:
            self.pods[key] = pod
        return self.pending.mark("pods", key, pod)

    def turn(self):
        self.acks.taken(self.pending.take_now())
        self.acks.applied(began=0.0, ended=0.0)

    async def admit(self, *addresses, name="shop/cart"):
        """As CNI does, with the turn that it waits for."""
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(self.admission.admit(name, addresses))
            await asyncio.sleep(0)
            assert not task.done(), "it waits until the policies are in force"
            self.turn()

    def see(self, pod, key=CART):
        self.admission.pod_changed(key, pod)

    def addresses(self):
        """By name: what pods have."""
        return {
            key.name: tuple(ip_address(text) for _, text in given_addresses(pod))
            for key, pod in self.pods.items()
        }


def pod(*addresses, uid="u1", phase="Running", node=NODE):
    made = b.pod("shop/cart", *map(str, addresses), node=node, labels={"app": "cart"})
    metadata = msgspec.structs.replace(made.metadata, uid=uid)
    status = msgspec.structs.replace(made.status, phase=phase)
    return msgspec.structs.replace(made, metadata=metadata, status=status)


async def test_a_pod_has_its_address_before_its_status_says_so():
    bench = Bench()
    bench.see(pod())
    assert bench.addresses() == {"cart": ()}
    await bench.admit(A)
    assert bench.addresses() == {"cart": (A,)}
    bench.see(pod(A))
    assert bench.addresses() == {"cart": (A,)}


async def test_a_pod_that_is_not_known_yet_is_waited_for():
    bench = Bench()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(bench.admission.admit("shop/cart", (A,)))
        await asyncio.sleep(0)
        bench.turn()
        await asyncio.sleep(0)
        assert not task.done()
        bench.see(pod())
        bench.turn()
        while not task.done():
            await asyncio.sleep(0)
            bench.turn()
    assert bench.addresses() == {"cart": (A,)}


async def test_a_pod_whose_object_is_gone_is_under_its_policies_until_its_interface_is_gone():
    bench = Bench()
    bench.see(pod())
    await bench.admit(A)
    bench.see(pod(A))
    bench.see(None)
    assert bench.addresses() == {"cart/u1": (A,)}
    (left,) = bench.pods.values()
    assert left.metadata.labels == {"app": "cart"}
    assert left.key in bench.pods
    bench.admission.released("shop/cart", (A,))
    assert bench.addresses() == {}


async def test_a_namesake_does_not_inherit_the_address():
    bench = Bench()
    bench.see(pod())
    await bench.admit(A)
    bench.see(pod(uid="u2"))
    assert bench.addresses() == {"cart": (), "cart/u1": (A,)}
    await bench.admit(B)
    assert bench.addresses() == {"cart": (B,), "cart/u1": (A,)}
    bench.admission.released("shop/cart", (A,))
    assert bench.addresses() == {"cart": (B,)}
    bench.see(pod(B, uid="u2"))
    bench.see(pod(B, uid="u2", node="node-2"))
    assert bench.addresses() == {"cart": (B,)}


async def test_a_namesake_on_another_node():
    bench = Bench()
    bench.see(pod())
    await bench.admit(A)
    bench.see(pod(uid="u2", node="node-2"))
    assert bench.addresses() == {"cart": (), "cart/u1": (A,)}


async def test_who_is_given_the_address_of_one_that_is_gone_holds_it():
    bench = Bench()
    bench.see(pod())
    await bench.admit(A)
    bench.see(None)
    (left,) = bench.pods.values()
    assert holder_rank(pod(A, uid="u2")) < holder_rank(left)


async def test_a_new_interface_counts_before_the_status_names_it_and_the_old_one_no_more():
    """The sandbox was made anew; the status still has the old address, which may be another pod's by now."""
    bench = Bench()
    bench.see(pod())
    await bench.admit(A)
    bench.see(pod(A))
    bench.admission.released("shop/cart", (A,))
    assert bench.addresses() == {"cart": ()}
    bench.see(pod(A))
    assert bench.addresses() == {"cart": ()}
    await bench.admit(B)
    assert bench.addresses() == {"cart": (B,)}
    bench.see(pod(A))
    assert bench.addresses() == {"cart": (B,)}


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
async def test_who_has_an_interface_has_not_finished(phase):
    bench = Bench()
    bench.see(pod())
    await bench.admit(A)
    bench.see(pod(A, phase=phase))
    assert bench.pods[CART].status.phase == "Running"
    bench.admission.released("shop/cart", (A,))
    assert bench.pods[CART].status.phase == phase
    assert bench.addresses() == {"cart": ()}


async def test_after_a_restart_what_was_given_counts_besides_what_the_status_says():
    leases = [
        Lease(Attachment("c1", "eth0"), (A,), "shop/cart"),
        Lease(Attachment("c2", "eth0"), (B,), "shop/cart"),
    ]
    bench = Bench(*leases)
    bench.see(pod(C))
    assert bench.addresses() == {"cart": (C, A, B)}
    bench.admission.released("shop/cart", (A,))
    assert bench.addresses() == {"cart": (C, B)}
    bench.see(None)
    assert bench.addresses() == {"cart/u1": (B,)}
    bench.admission.released("shop/cart", (B,))
    assert bench.addresses() == {}


async def test_a_lease_of_a_pod_that_went_before_the_start_is_an_orphan():
    leases = [
        Lease(Attachment("c1", "eth0"), (A,), "shop/cart"),
        Lease(Attachment("c2", "eth0"), (B,), "shop/old"),
        Lease(Attachment("c3", "eth0"), (C,)),
    ]
    bench = Bench(*leases)
    bench.see(pod())
    assert bench.admission.orphans(leases) == [leases[1]]


async def test_an_attempt_that_failed_leaves_nothing():
    bench = Bench()
    bench.see(pod())
    await bench.admit(A)
    bench.admission.released("shop/cart", (A,))
    assert bench.addresses() == {"cart": ()}


async def test_pods_of_others_and_of_other_networks_are_as_they_say():
    bench = Bench()
    bench.see(pod(A, node="node-2"))
    assert bench.addresses() == {"cart": (A,)}
    bench.see(None)
    assert bench.addresses() == {}
    bench.see(pod(A))  # from before this CNI
    bench.admission.released("", (B,))
    assert bench.addresses() == {"cart": (A,)}
    bench.see(None)
    assert bench.addresses() == {}


async def meeting(bench, uid, name="shop/cart"):
    task = asyncio.create_task(bench.admission.meet(name, uid))
    await asyncio.sleep(0)
    return task


async def test_a_pod_of_before_with_the_same_name_is_another_one():
    bench = Bench()
    bench.see(pod(uid="old"))
    assert (await meeting(bench, "old")).done()
    waiting = await meeting(bench, "new")
    assert not waiting.done(), "the one that is known has other labels, and so other policies"
    bench.see(pod(uid="old"))
    await asyncio.sleep(0)
    assert not waiting.done()
    bench.see(pod(uid="new"))
    await waiting


async def test_who_says_no_uid_waits_for_nobody_and_a_static_pod_is_known_by_the_kubelets_name_for_it():
    bench = Bench()
    assert (await meeting(bench, "")).done()
    assert (await meeting(bench, "x", name="")).done()
    mirror = pod(uid="of-the-api")
    metadata = msgspec.structs.replace(
        mirror.metadata, annotations={"kubernetes.io/config.hash": "of-the-kubelet"}
    )
    bench.see(msgspec.structs.replace(mirror, metadata=metadata))
    await bench.admission.meet("shop/cart", "of-the-kubelet")


async def test_a_pod_that_does_not_come_is_told_to_try_again(monkeypatch):
    monkeypatch.setattr("netloom.agent.admission.PATIENCE_S", 0.01)
    bench = Bench()
    with pytest.raises(Unavailable, match="pod shop/cart is not known to this node"):
        await bench.admission.meet("shop/cart", "new")
    bench.see(pod(uid="old"))
    with pytest.raises(Unavailable, match="pod shop/cart is known to this node as another one than new"):
        await bench.admission.meet("shop/cart", "new")
