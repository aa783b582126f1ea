"""What applying and deleting does to objects: what others gave them stays."""

import json

from netloom.api.core import Namespace, Service
from netloom.observe.estate.estate import Ref, applied, deleted
from netloom.observe.estate.kinds import Workload, kind_named
from netloom.testing.plan_words import SHOP, estate, objects
from netloom.units import ObjectKey

WEB = ObjectKey("shop", "web")


def service_after(before, after):
    return applied(estate(before), objects(after)).of(Service)[WEB]


def test_addresses_and_ports_that_were_given_stay():
    given = """
kind: Service
metadata: {name: web}
spec: {type: NodePort, clusterIP: 10.96.4.4, clusterIPs: [10.96.4.4], ipFamilies: [IPv4], ports: [{port: 80, targetPort: 80, nodePort: 31000}]}
"""
    written = "kind: Service\nmetadata: {name: web}\nspec: {type: NodePort, ports: [{port: 80}, {port: 81}]}"
    spec = service_after(given, written).spec
    assert (spec.cluster_ip, spec.cluster_ips, spec.ip_families) == ("10.96.4.4", ("10.96.4.4",), ("IPv4",))
    assert [port.node_port for port in spec.ports] == [31000, 0]
    assert [port.target_port for port in spec.ports] == [80, None], "the server's own choice is no change"
    assert (
        service_after(given, written.replace("port: 81", "port: 80, protocol: UDP")).spec.ports[1].node_port
        == 0
    )
    inner = service_after(given, written.replace("NodePort", "ClusterIP")).spec
    assert [port.node_port for port in inner.ports] == [0, 0]
    assert (
        service_after(given, written.replace("type: NodePort", "clusterIP: None")).spec.cluster_ip == "None"
    )


def test_labels_that_others_set_stay_and_those_that_were_applied_go():
    last = json.dumps({"metadata": {"labels": {"team": "a", "old": "1"}}})
    live = {"team": "a", "old": "1", "others": "x"}
    before = f"""
kind: Namespace
metadata:
  name: shop
  labels: {json.dumps(live)}
  annotations: {{kubectl.kubernetes.io/last-applied-configuration: {json.dumps(last)}}}
"""
    after = applied(estate(before), objects("{kind: Namespace, metadata: {name: shop, labels: {team: b}}}"))
    assert after.of(Namespace)[ObjectKey("", "shop")].metadata.labels == {"team": "b", "others": "x"}
    broken = before.replace("metadata", "metadata", 1).replace('"{', '"{{')
    again = applied(estate(broken), objects("{kind: Namespace, metadata: {name: shop, labels: {team: b}}}"))
    assert again.of(Namespace)[ObjectKey("", "shop")].metadata.labels == {**live, "team": "b"}


def test_a_scale_that_the_manifest_leaves_open_stays():
    scaled = "kind: Deployment\nmetadata: {name: web}\nspec: {replicas: 7}"
    written = "kind: Deployment\nmetadata: {name: web}\nspec: {template: {metadata: {labels: {a: b}}}}"
    found = applied(estate(scaled), objects(written)).find(Ref("Deployment", "shop", "web"))
    assert isinstance(found, Workload)
    assert found.spec.replicas == 7
    assert found.template.metadata.labels == {"a": "b"}


def test_nothing_is_changed_in_place():
    before = estate(SHOP)
    kept = {kind: dict(of_kind) for kind, of_kind in before.objects.items()}
    applied(before, objects("kind: Deployment\nmetadata: {name: web}"))
    gone = deleted(before, [Ref("Namespace", "", "shop")])
    assert {kind: dict(of_kind) for kind, of_kind in before.objects.items()} == kept
    assert set(gone.objects["Deployment"]) == {ObjectKey("lab", "probe")}
    assert set(gone.objects["Namespace"]) == {ObjectKey("", "lab")}


def test_kinds_by_all_their_names():
    for word, kind in (
        ("netpol", "NetworkPolicy"),
        ("Deployments", "Deployment"),
        ("sts", "StatefulSet"),
        ("SVC", "Service"),
    ):
        found = kind_named(word)
        assert found is not None
        assert found.name == kind
    assert kind_named("ingress") is None
