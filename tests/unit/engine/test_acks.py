"""What is said to be in force is, and nothing else."""

from netloom.engine.acks import Acks, SliceAck
from netloom.engine.pending import Taken
from netloom.metrics import render
from netloom.model.inputs import Changes
from netloom.testing.builders import load_view
from netloom.units import ObjectKey

KEY = ObjectKey("shop", "cart-1")


def slice_at(version: str) -> Changes:
    text = f"""
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: cart-1, namespace: shop, uid: u-1, generation: 2, resourceVersion: "{version}"}}
addressType: IPv4
endpoints: []
"""
    return Changes(slices=dict(load_view(text).slices))


def test_taken_is_not_in_force():
    acks, heard = Acks(), []
    acks.follow(lambda: heard.append(dict(acks.versions)))
    acks.taken(Taken(slice_at("7"), {"slices": "8"}, 1.0))
    assert acks.versions == {}
    assert acks.slices == {}
    acks.applied(began=1.0, ended=1.5)
    assert acks.versions == {"slices": "8"}
    assert acks.slices == {KEY: SliceAck("u-1", 2, "7")}
    assert heard == [{"slices": "8"}]


def test_what_was_refused_is_in_force_with_the_next_turn_that_succeeds():
    acks, heard = Acks(), []
    acks.follow(lambda: heard.append(dict(acks.versions)))
    acks.taken(Taken(slice_at("7"), {"slices": "7"}, 1.0))
    acks.refused()
    acks.taken(Taken(Changes(slices={KEY: None}), {"slices": "9", "pods": "3"}, 2.0))
    acks.applied(began=2.0, ended=2.5)
    assert acks.versions == {"slices": "9", "pods": "3"}
    assert acks.slices == {}
    assert len(heard) == 1
    assert (acks.turns, acks.changes, acks.refusals) == (1, 2, 1)


def test_a_turn_that_advances_nothing_is_told_to_nobody():
    acks, heard = Acks(), []
    acks.follow(lambda: heard.append(1))
    acks.taken(Taken(versions={"pods": "3"}))
    acks.applied(began=0.0, ended=0.1)
    acks.taken(Taken(versions={"pods": "3"}))
    acks.applied(began=0.0, ended=0.1)
    acks.applied(began=0.0, ended=0.1)
    assert heard == [1]


def test_latency_counts_from_the_first_event_and_the_start_stands_apart():
    acks = Acks()
    acks.taken(Taken(slice_at("7"), {"slices": "7"}, 0.0))
    acks.applied(began=10.0, ended=12.0)
    assert acks.start_s == 2.0
    assert acks.latency_s.count == 0
    acks.taken(Taken(slice_at("8"), {"slices": "8"}, 20.0))
    acks.refused()
    acks.taken(Taken())
    acks.applied(began=20.4, ended=20.5)
    page = render(acks.samples())
    assert 'netloom_event_to_in_force_seconds_bucket{le="0.2"} 0' in page
    assert 'netloom_event_to_in_force_seconds_bucket{le="0.5"} 1' in page
    assert 'netloom_in_force_resource_version{kind="slices"} 8' in page
    assert "netloom_turns_refused_total 1" in page


def test_a_version_that_is_no_number_is_kept_and_not_measured():
    acks = Acks()
    acks.taken(Taken(versions={"pods": "a7f"}))
    acks.applied(began=0.0, ended=0.1)
    assert acks.versions == {"pods": "a7f"}
    assert "resource_version" not in render(acks.samples())
