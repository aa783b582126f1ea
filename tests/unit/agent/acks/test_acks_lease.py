"""What a node says it has in force, and what follows from it."""

import msgspec
import pytest

from netloom.agent.acks_lease import (
    Lack,
    Wanted,
    body,
    key_of,
    lacking,
    name_of,
    node_of,
    ready_and_not,
    strictest,
    versions_in,
)
from netloom.api.coordination import Lease
from netloom.api.core import Node, NodeStatus, PodCondition
from netloom.api.meta import ObjectMeta

CART = Wanted("EndpointSlice shop/cart-1", "slices", "20")
SERVICE = Wanted("Service shop/cart", "services", "9")


def lease(node, **versions) -> Lease:
    return msgspec.convert(body(node, "u-1", versions, renewed="2026-01-01T00:00:00.000000Z"), Lease)


def test_what_is_written_can_be_read():
    written = lease("node-1", slices="20", services="9")
    assert written.key == key_of("node-1")
    assert written.spec.holder_identity == "node-1"
    assert versions_in(written) == {"slices": "20", "services": "9"}
    (owner,) = written.metadata.owner_references
    assert (owner.kind, owner.name, owner.uid) == ("Node", "node-1", "u-1")


def test_a_name_that_would_be_too_long_is_still_a_name_of_its_own():
    long = "n" * 250
    assert len(name_of(long)) <= 253
    assert name_of(long) != name_of(long + "m")
    assert name_of("node-1") == "netloom-node-1"


@pytest.mark.parametrize(
    ("told", "nodes_that_lack"),
    [
        ({"node-1": {"slices": "20"}, "node-2": {"slices": "21"}}, []),
        ({"node-1": {"slices": "19"}, "node-2": {"slices": "21"}}, ["node-1"]),
        ({"node-1": {"slices": "20"}}, ["node-2"]),
        ({"node-1": {"pods": "99"}, "node-2": {"slices": "100"}}, ["node-1"]),
    ],
)
def test_a_node_lacks_what_it_has_not_told(told, nodes_that_lack):
    lacks = lacking([CART], ["node-1", "node-2"], told)
    assert [lack.node for lack in lacks] == nodes_that_lack


def test_what_is_lacking_is_said_with_object_and_version():
    assert str(Lack("node-2", CART, "19")) == (
        "node-2 has not EndpointSlice shop/cart-1 at 20 in force, but slices up to resourceVersion 19"
    )
    assert "agent" in str(Lack("node-2", CART, ""))


def test_of_each_kind_the_newest_stands_for_all():
    older = Wanted("EndpointSlice shop/cart-2", "slices", "9")
    assert set(strictest([CART, older, SERVICE])) == {CART, SERVICE}
    assert set(strictest([older, CART, SERVICE])) == {CART, SERVICE}


def test_versions_that_are_no_numbers_are_compared_one_by_one():
    opaque = [Wanted("EndpointSlice shop/a", "slices", "x1"), Wanted("EndpointSlice shop/b", "slices", "x2")]
    assert set(strictest([*opaque, CART])) == {*opaque, CART}
    assert lacking(opaque[:1], ["node-1"], {"node-1": {"slices": "x1"}}) == ()
    assert lacking(opaque[:1], ["node-1"], {"node-1": {"slices": "x2"}}) != ()


def test_a_lease_of_another_name_is_not_believed():
    mine = lease("node-1", slices="20")
    assert node_of(mine) == "node-1"
    copy = msgspec.structs.replace(
        mine, metadata=msgspec.structs.replace(mine.metadata, name="netloom-node-2")
    )
    assert node_of(copy) == ""
    assert node_of(Lease()) == ""


def test_only_ready_nodes_count():
    def node(name, status):
        return Node(
            metadata=ObjectMeta(name=name), status=NodeStatus(conditions=(PodCondition("Ready", status),))
        )

    nodes = [node("b", "True"), node("a", "True"), node("c", "Unknown"), Node(metadata=ObjectMeta(name="d"))]
    assert ready_and_not(nodes) == (["a", "b"], ["c", "d"])
