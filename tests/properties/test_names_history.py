"""Names are a function of the objects that are there, never of the way they came (STYLE rule 7)."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from netloom.api.core import Namespace, Pod, Service
from netloom.api.discovery import Endpoint, EndpointSlice
from netloom.api.meta import KubeObject
from netloom.model.inputs import Changes, ClusterView
from netloom.model.names.names import Names
from netloom.model.names.records import NamesDelta, NameSettings, RecordSets
from netloom.testing import builders as b

SETTINGS = NameSettings(
    reverse_cidrs=(ip_network("10.96.0.0/16"), ip_network("10.244.0.0/16")),
    dns_addresses=(ip_address("10.96.0.10"),),
)

# Few of each, so that objects meet all the time: the same ClusterIP, endpoint, hostname, pod address.
services = st.builds(
    lambda name, ips, ports, publish, kind: b.service(
        name,
        *ips,
        ports=ports,
        publish_not_ready_addresses=publish,
        type=kind,
        external_name="db.example.org",
    ),
    st.sampled_from(["a/x", "a/y", "b/x"]),
    st.sampled_from([("10.96.0.1",), ("10.96.0.2", "2001:db8::2"), ("None",), ("None",), (), ("nonsense",)]),
    st.sampled_from([(), (b.port(80, "http"),), (b.port(80, "http"), b.port(53, "dns", protocol="UDP"))]),
    st.booleans(),
    st.sampled_from(["ClusterIP", "ClusterIP", "ClusterIP", "ExternalName"]),
)


def _endpoint(address: str, hostname: str | None, ready: bool | None) -> Endpoint:
    return msgspec.structs.replace(b.endpoint(address, ready=ready), hostname=hostname)


endpoints = st.builds(
    _endpoint,
    st.sampled_from(["10.244.0.1", "10.244.0.2", "192.0.2.1", "2001:db8::9", "nonsense"]),
    st.sampled_from([None, "h-0", "h-1", "no_label"]),
    st.sampled_from([True, False, None]),
)
slices = st.builds(
    lambda name, of, members, ports: b.endpoint_slice(name, of, *members, ports=ports),
    st.sampled_from(["a/s1", "a/s2", "b/s1"]),
    st.sampled_from(["x", "y", ""]),
    st.lists(endpoints, max_size=3),
    st.sampled_from([(), (("http", 8080),), (("", 8080), ("dns", 53))]),
)
pods = st.builds(
    lambda name, addresses, phase: b.pod(name, *addresses, phase=phase),
    st.sampled_from(["a/p1", "a/p2", "b/p1"]),
    st.sampled_from([(), ("10.244.0.1",), ("10.244.0.2", "2001:db8::9")]),
    st.sampled_from(["Running", "Pending", "Failed"]),
)
namespaces = st.builds(lambda name: Namespace(metadata=b.meta(name)), st.sampled_from(["a", "b"]))
objects = st.one_of(services, slices, slices, pods, namespaces)
# Each step: an object, and whether it comes or goes.
histories = st.lists(
    st.lists(st.tuples(objects, st.sampled_from([True, True, False])), max_size=4), max_size=10
)

KINDS: dict[type[KubeObject], str] = {
    Service: "services",
    EndpointSlice: "slices",
    Pod: "pods",
    Namespace: "namespaces",
}


def _changes(step: list[tuple[KubeObject, bool]]) -> Changes:
    fields: dict[str, dict] = {}
    for obj, comes in step:
        fields.setdefault(KINDS[type(obj)], {})[obj.key] = obj if comes else None
    return Changes(**fields)


def _applied(names: dict[str, RecordSets], delta: NamesDelta) -> dict[str, RecordSets]:
    """What somebody has who only ever heard deltas; a delta must say nothing that was known."""
    for name in delta.removals:
        del names[name]
    for name, sets in delta.upserts.items():
        assert names.get(name) != sets
        names[name] = sets
    return names


@given(histories)
def test_history_leaves_no_trace(history: list[list[tuple[KubeObject, bool]]]):
    names = Names(SETTINGS)
    heard = dict(names.state.names)
    final: dict[str, dict] = {field: {} for field in KINDS.values()}
    for step in history:
        changes = _changes(step)
        heard = _applied(heard, names.update(changes))
        assert names.update(changes).is_empty  # a watch repeats itself
        for field, present in final.items():
            for key, obj in getattr(changes, field).items():
                present.pop(key, None)
                if obj is not None:
                    present[key] = obj
    wanted = Names.compute(ClusterView(**final), SETTINGS)
    assert names.state == wanted
    assert heard == wanted.names


@given(histories)
def test_what_is_above_a_name_exists(history: list[list[tuple[KubeObject, bool]]]):
    names = Names(SETTINGS)
    for step in history:
        names.update(_changes(step))
    state = names.state
    for name in state.names:
        for zone in state.zones:
            if name.endswith("." + zone):
                assert name.partition(".")[2] in state.names


@given(st.lists(objects, max_size=6))
def test_taking_everything_away_leaves_what_was_there_before(present: list[KubeObject]):
    names = Names(SETTINGS)
    before = names.state
    names.update(_changes([(obj, True) for obj in present]))
    names.update(_changes([(obj, False) for obj in present]))
    assert names.state == before
