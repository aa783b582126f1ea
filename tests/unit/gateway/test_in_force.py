"""What a node tells of its gateway comes back as it was told, and who lacks what is said by name."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from netloom.gateway.in_force import (
    GatewayLease,
    Problem,
    Told,
    body,
    key_of,
    lacking,
    node_of,
    told_by,
    without_nulls,
)
from netloom.units import ObjectKey

KINDS = ("gateways", "services")
WEB = ObjectKey("shop", "web")


def lease(told, node="node-1"):
    written = without_nulls(body(node, "uid-1", told, kinds=KINDS, renewed="2026-01-01T00:00:00.000000Z"))
    return msgspec.convert(msgspec.json.decode(msgspec.json.encode(written)), GatewayLease)


versions = st.dictionaries(st.sampled_from(KINDS), st.integers(1, 10**12).map(str))
problems = st.lists(
    st.builds(Problem, st.text(max_size=40), st.just("Gateway"), st.just("shop"), st.just("web")), max_size=5
)


@given(versions, st.frozensets(st.integers(30000, 32767), max_size=5), problems)
def test_told_and_read(says, doors, found):
    told = Told(says, doors, tuple(found))
    assert told_by(lease(told), KINDS) == told
    assert node_of(lease(told)) == "node-1"


def test_a_copy_under_another_name_is_not_believed():
    copied = msgspec.structs.replace(
        lease(Told()), metadata=msgspec.structs.replace(lease(Told()).metadata, name="netloom-gateway-node-2")
    )
    assert node_of(copied) == ""


def test_long_names_of_nodes_fit():
    assert len(key_of("n" * 253).name) <= 253


def test_what_cannot_be_read_is_not_said():
    notes = {"netloom.io/doors": "30080 x -5", "netloom.io/problems": "{"}
    odd = lease(Told())
    odd = msgspec.structs.replace(odd, metadata=msgspec.structs.replace(odd.metadata, annotations=notes))
    assert told_by(odd, KINDS) == Told(doors=frozenset({30080}))


def lacks(told, **more):
    return lacking(told, nodes=("node-1",), wanted=(("gateways", "7"),), doors=(30080,), subject=WEB, **more)


def test_a_node_lacks_what_it_has_not_told():
    assert lacks({}) == ("node-1 has not told anything yet",)
    assert lacks({"node-1": Told({"gateways": "6"}, frozenset({30080}))}) == (
        "node-1 has not gateways of this version in force yet",
    )
    assert lacks({"node-1": Told({"gateways": "7"})}) == ("node-1 does not listen at port 30080 yet",)
    assert lacks({"node-1": Told({"gateways": "8"}, frozenset({30080}))}) == ()


def test_problems_count_where_they_are_of_all_or_of_this_one():
    good = Told({"gateways": "8"}, frozenset({30080}))
    ours, others, all_ = (
        Problem("no", "Gateway", "shop", "web"),
        Problem("no", "Gateway", "shop", "x"),
        Problem("no haproxy"),
    )
    assert lacks({"node-1": msgspec.structs.replace(good, problems=(others,))}) == ()
    assert lacks({"node-1": msgspec.structs.replace(good, problems=(ours,))}) == ("node-1: no",)
    assert lacks({"node-1": msgspec.structs.replace(good, problems=(all_,))}) == ("node-1: no haproxy",)
