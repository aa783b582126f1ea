"""Every kind, through clients that nobody here wrote: kubectl and the official Python client."""

import contextlib
import copy
import json
import re

import pytest
from kubernetes import client, config, watch
from tests.unit.local.apiserver.every_kind import DOCUMENTS

pytestmark = pytest.mark.cluster

ELSEWHERE = {"IPAddress", "ServiceCIDR", "CSINode", "VolumeAttachment", "PersistentVolume"}
"""What controllers of a running cluster act on, or what belongs to its nodes; these have tests of their own."""
IDLE = {
    "StatefulSet": ("replicas", 0),
    "ReplicationController": ("replicas", 0),
    "Job": ("suspend", True),
    "CronJob": ("suspend", True),
}
KNOWN = {
    "statefulset.spec.updateStrategy.rollingUpdate": "partition",
    "cronjob.spec.jobTemplate.spec": "backoffLimit",
    "poddisruptionbudget.spec": "minAvailable",
    "clusterrole.rules": "verbs",
}


def documents(place):
    """Good documents that start no pods; those without a namespace have names of this test's own."""
    for document in copy.deepcopy([one for one in DOCUMENTS.values() if one["kind"] not in ELSEWHERE]):
        if document["metadata"].get("namespace"):
            document["metadata"]["namespace"] = place.namespace
        else:
            document["metadata"]["name"] += f".{place.namespace}.example"
        if document["kind"] in IDLE:
            field, value = IDLE[document["kind"]]
            document["spec"][field] = value
        if document["kind"] == "DaemonSet":
            document["spec"]["template"]["spec"]["nodeSelector"] = {"example.org/nowhere": "yes"}
        yield document


def resource(document):
    group = document["apiVersion"].rpartition("/")[0]
    return f"{document['kind'].lower()}.{group}" if group else document["kind"].lower()


@pytest.fixture
def every_kind(place):
    made = list(documents(place))
    place.apply(*made)
    yield made
    everywhere = [
        f"{resource(d)}/{d['metadata']['name']}" for d in made if not d["metadata"].get("namespace")
    ]
    place("delete", "--wait=false", *everywhere)


def test_kubectl_applies_every_kind_again_and_shows_it(place, every_kind):
    again = place.apply(*every_kind).splitlines()
    assert len(again) == len(every_kind)
    assert [line for line in again if not line.endswith(("unchanged", "configured"))] == []
    shown = place("get", ",".join(map(resource, every_kind)), "-o", "wide")
    for document in every_kind:
        assert document["metadata"]["name"] in shown
    applied = place(
        "apply", "--server-side", "--force-conflicts", "-f", "-", stdin="\n".join(map(json.dumps, every_kind))
    )
    assert len(applied.splitlines()) == len(every_kind)


@pytest.mark.parametrize("path", KNOWN)
def test_kubectl_explains_the_fields_of_a_kind(place, path):
    text = place("explain", path)
    assert re.search(rf"{KNOWN[path]}\s+<", text)
    assert "DESCRIPTION:\n    <empty>" not in text


@pytest.fixture
def python_client(place):
    path = place.command.home / "clusters" / place.cluster / "kubeconfig"
    with config.new_client_from_config(config_file=str(path)) as made:
        yield made


def lists(api):
    """The methods of an API of the official client that list a kind of the whole cluster."""
    for name in dir(api):
        if re.fullmatch(r"list_(?!namespaced_)\w+", name) and not name.endswith(
            ("_with_http_info", "_without_preload_content")
        ):
            yield name


APIS = (
    *("AppsV1", "AutoscalingV1", "AutoscalingV2", "BatchV1", "CoordinationV1", "DiscoveryV1", "EventsV1"),
    *(
        "NetworkingV1",
        "NodeV1",
        "PolicyV1",
        "RbacAuthorizationV1",
        "SchedulingV1",
        "StorageV1",
        "ApiextensionsV1",
    ),
    *("CoreV1", "AdmissionregistrationV1"),
)


def test_the_python_client_reads_every_kind_with_its_own_types(every_kind, python_client):
    seen = set()
    for version in APIS:
        api = getattr(client, f"{version}Api")(python_client)
        for name in lists(api):
            if name == "list_component_status":
                continue
            found = getattr(api, name)()
            seen.update(type(item).__name__ for item in found.items)
    wanted = {document["kind"] for document in every_kind} - {"Event"}
    assert {kind for kind in wanted if f"V1{kind}" not in seen and f"V2{kind}" not in seen} == set()


def test_the_python_client_makes_watches_scales_and_deletes(place, python_client):
    apps = client.AppsV1Api(python_client)
    labels = {"app": "typed"}
    container = client.V1Container(name="main", image="example.org/typed:1")
    template = client.V1PodTemplateSpec(
        metadata=client.V1ObjectMeta(labels=labels), spec=client.V1PodSpec(containers=[container])
    )
    spec = client.V1StatefulSetSpec(
        replicas=0,
        service_name="typed",
        selector=client.V1LabelSelector(match_labels=labels),
        template=template,
    )
    body = client.V1StatefulSet(metadata=client.V1ObjectMeta(name="typed"), spec=spec)
    made = apps.create_namespaced_stateful_set(place.namespace, body)
    assert made.spec.pod_management_policy == "OrderedReady"
    since = made.metadata.resource_version
    apps.patch_namespaced_stateful_set("typed", place.namespace, {"metadata": {"labels": {"seen": "yes"}}})
    stream = watch.Watch().stream(
        apps.list_namespaced_stateful_set, place.namespace, resource_version=since, timeout_seconds=60
    )
    with contextlib.closing(stream):
        assert any((event["object"].metadata.labels or {}).get("seen") == "yes" for event in stream)
    scale = apps.read_namespaced_stateful_set_scale("typed", place.namespace)
    assert scale.spec.replicas in (0, None)
    with pytest.raises(client.exceptions.ApiException) as refused:
        apps.patch_namespaced_stateful_set("typed", place.namespace, {"spec": {"serviceName": "other"}})
    assert refused.value.status == 422
    assert json.loads(refused.value.body)["details"]["causes"][0]["field"] == "spec"
    with pytest.raises(client.exceptions.ApiException) as unknown:
        apps.list_namespaced_stateful_set(place.namespace, field_selector="spec.nothing=1")
    assert unknown.value.status == 400
    apps.delete_collection_namespaced_stateful_set(place.namespace, label_selector="seen=yes")
    assert apps.list_namespaced_stateful_set(place.namespace, label_selector="seen=yes").items == []
