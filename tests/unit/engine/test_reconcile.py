import asyncio
import errno
from collections.abc import Mapping

import msgspec
import pytest

from netloom.engine.acks import Acks, SliceAck
from netloom.engine.pending import Taken
from netloom.engine.reconcile import Engine
from netloom.errors import NftError
from netloom.model.inputs import Changes, ClusterView, NodeFacts
from netloom.model.network import Network
from netloom.testing.builders import load_view
from netloom.units import ObjectKey, parse_addr, parse_cidr

FACTS = NodeFacts(
    name="node-1",
    addresses=(parse_addr("192.0.2.11"),),
    pod_cidrs=(parse_cidr("10.1.0.0/24"),),
    service_cidrs=(parse_cidr("10.96.0.0/16"),),
)
MANIFESTS = """
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {clusterIP: 10.96.0.20, clusterIPs: [10.96.0.20], ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: cart-1, namespace: shop, labels: {kubernetes.io/service-name: cart}, resourceVersion: "7", uid: u-1, generation: 3}
addressType: IPv4
ports: [{port: 8080, protocol: TCP}]
endpoints: [{addresses: [10.1.0.5]}, {addresses: [10.1.0.6]}]
"""


CART = ObjectKey("shop", "cart-1")


class FakePlane:
    """Holds what it was told, and refuses when asked to."""

    def __init__(self):
        self.frontends = None
        self.calls = []
        self.refusals = 0

    async def start(self, state, facts):
        self._maybe_refuse("start")
        self.frontends, self.facts = dict(state.frontends), facts

    async def apply(self, delta):
        self._maybe_refuse("apply")
        for key, frontend in delta.frontends.items():
            if frontend is None:
                del self.frontends[key]
            else:
                self.frontends[key] = frontend

    async def remove(self):
        self.frontends = None

    def _maybe_refuse(self, call):
        self.calls.append(call)
        if self.refusals:
            self.refusals -= 1
            raise NftError("add element", errno.ENOMEM, "no memory")


class FakeFabric:
    def __init__(self):
        self.routes = {}

    async def start(self, routes: Mapping, facts):
        self.routes = dict(routes)

    async def apply(self, changes):
        self.routes |= changes

    async def remove(self):
        self.routes = {}


class FakeNames:
    def __init__(self):
        self.seen = []

    def update(self, changes):
        self.seen.append(changes)


class StoppedClock:
    def monotonic(self):
        return 5.0

    def wall(self):
        return 0.0


@pytest.fixture
def parts():
    plane, reported = FakePlane(), []
    acks = Acks()
    engine = Engine(
        facts=FACTS,
        plane=plane,
        fabric=FakeFabric(),
        names=FakeNames(),
        acks=acks,
        clock=StoppedClock(),
        report=reported.extend,
    )
    return engine, plane, acks, reported


def everything() -> Changes:
    view = load_view(MANIFESTS)
    return Changes(services=dict(view.services), slices=dict(view.slices))


def taken(changes: Changes, services="6", slices="7") -> Taken:
    return Taken(changes, {"services": services, "slices": slices}, 4.0)


async def test_the_first_turn_programs_everything_and_acknowledges_it(parts):
    engine, plane, acks, _ = parts
    assert not engine.is_in_force
    await engine.turn(taken(everything()))
    assert engine.is_in_force
    assert plane.calls == ["start"]
    assert len(plane.frontends) == 1
    assert acks.slices == {CART: SliceAck("u-1", 3, "7")}
    assert acks.versions == {"services": "6", "slices": "7"}


async def test_later_turns_apply_only_the_difference(parts):
    engine, plane, acks, _ = parts
    await engine.turn(taken(everything()))
    await engine.turn(taken(Changes(slices={CART: None}), slices="9"))
    assert plane.calls == ["start", "apply"]
    assert acks.slices == {}
    assert next(iter(plane.frontends.values())).backends == ()


async def test_a_refused_change_falls_back_to_comparing_everything(parts):
    engine, plane, _, _ = parts
    await engine.turn(taken(everything()))
    plane.refusals = 1
    await engine.turn(taken(Changes(slices={CART: None}), slices="9"))
    assert plane.calls == ["start", "apply", "start"]
    assert plane.frontends == dict(engine.network.state.frontends)
    assert engine.is_in_force


async def test_a_kernel_that_refuses_everything_is_not_called_in_force_and_nothing_is_lost(parts):
    engine, plane, acks, _ = parts
    await engine.turn(taken(everything()))
    plane.refusals = 2
    with pytest.raises(NftError):
        await engine.turn(taken(Changes(slices={CART: None}), slices="9"))
    assert not engine.is_in_force
    assert set(acks.slices) == {CART}
    assert acks.versions["slices"] == "7", "what the kernel refused is not acknowledged"
    await engine.turn(Taken())
    assert engine.is_in_force
    assert acks.slices == {}, "what was refused once is acknowledged with the turn that puts it in force"
    assert acks.versions["slices"] == "9"
    assert plane.frontends == dict(
        Network.compute(ClusterView(services=everything().services), FACTS).frontends
    )


async def test_a_finding_is_reported_once(parts):
    engine, _, _, reported = parts
    changes = everything()
    bad = load_view(MANIFESTS.replace("10.96.0.20", "10.96.0.300"))
    await engine.turn(taken(Changes(services=dict(bad.services), slices=changes.slices)))
    assert len(reported) >= 1
    before = len(reported)
    await engine.turn(taken(Changes(slices={ObjectKey("shop", "other"): None})))
    assert len(reported) == before


async def test_a_node_that_changes_is_programmed_anew_with_its_new_facts(parts):
    engine, plane, _, _ = parts
    await engine.turn(taken(everything()))
    moved = msgspec.structs.replace(FACTS, addresses=(parse_addr("192.0.2.99"),))
    engine.refit(moved)
    await engine.turn(Taken())
    assert plane.calls == ["start", "start"]
    assert plane.facts == moved == engine.facts
    assert engine.is_in_force
    engine.refit(moved)
    await engine.turn(Taken())
    assert plane.calls == ["start", "start"], "the same facts change nothing"


async def test_a_bookmark_is_in_force_without_asking_the_kernel(parts):
    engine, plane, acks, _ = parts
    await engine.turn(taken(everything()))
    await engine.turn(Taken(versions={"slices": "50"}))
    assert plane.calls == ["start"]
    assert acks.versions == {"services": "6", "slices": "50"}


async def test_while_it_is_held_still_nothing_is_put_in_force(parts):
    engine, plane, _, _ = parts
    async with engine.still() as state:
        assert state is None, "nothing has been programmed yet"
    await engine.turn(taken(everything()))
    async with asyncio.TaskGroup() as group:
        async with engine.still() as state:
            assert state == engine.network.state
            turn = group.create_task(engine.turn(taken(Changes(slices={CART: None}), slices="9")))
            for _ in range(10):
                await asyncio.sleep(0)
            assert plane.calls == ["start"]
        await turn
    assert plane.calls == ["start", "apply"]


async def test_others_are_told_of_what_is_in_force_and_of_nothing_else(parts):
    plane, told, began = FakePlane(), [], []

    class Other:
        def start(self, state, facts):
            told.append(("start", len(state.frontends), facts))

        def apply(self, delta):
            told.append(("apply", len(delta.frontends)))

    engine = Engine(
        facts=FACTS,
        plane=plane,
        fabric=FakeFabric(),
        names=FakeNames(),
        acks=Acks(),
        clock=StoppedClock(),
        report=lambda _: None,
        others=(Other(),),
        on_turn=began.append,
    )
    await engine.turn(taken(everything()))
    await engine.turn(taken(Changes(slices={CART: None}), slices="9"))
    assert told == [("start", 1, FACTS), ("apply", 1)]
    plane.refusals = 2
    with pytest.raises(NftError):
        await engine.turn(taken(everything()))
    assert told[2:] == []
    await engine.turn(Taken())
    assert told[2:] == [("start", 1, FACTS)]
    assert len(began) == 3


async def test_the_plane_hears_of_other_nodes_too(parts):
    """Its rules speak of peers: what pods send to them keeps its source."""
    engine, plane, _, _ = parts
    await engine.turn(taken(everything()))
    nodes = load_view(
        """
apiVersion: v1
kind: Node
metadata: {name: node-2}
spec: {podCIDRs: [10.1.1.0/24]}
status: {addresses: [{type: InternalIP, address: 192.0.2.12}]}
"""
    ).nodes
    await engine.turn(taken(Changes(nodes=dict(nodes))))
    assert plane.calls == ["start", "apply"]
