"""Objects as kubectl makes, changes, watches and ends them, where controllers and nodes act on them."""

import json

import pytest

pytestmark = pytest.mark.cluster

SETTINGS = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"a": "1"}}


def test_an_unknown_field_is_refused_with_its_path(place):
    wrong = {**SETTINGS, "dato": {}}
    assert 'unknown field "dato"' in place.refused("apply", "-f", "-", stdin=json.dumps(wrong))
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "x", "prots": []}]},
    }
    assert "spec.containers[0].prots" in place.refused("apply", "-f", "-", stdin=json.dumps(pod))
    place("apply", "--validate=false", "-f", "-", stdin=json.dumps(wrong))


def test_a_list_is_validated_and_applied(place):
    """What ``kubectl get -o yaml`` writes can be applied again; kubectl validates lists by OpenAPI v2."""
    place.apply(SETTINGS)
    place.service("web")
    kept = place("get", "configmaps,services", "-o", "yaml")
    place("delete", "configmap,service", "settings", "web", "--ignore-not-found")
    assert "configmap/settings" in place("apply", "-f", "-", stdin=kept)
    assert place.get("configmap", "settings")["data"] == {"a": "1"}
    wrong = {"apiVersion": "v1", "kind": "List", "items": [{**SETTINGS, "dato": {}}]}
    assert "dato" in place.refused("apply", "-f", "-", stdin=json.dumps(wrong))


def test_a_wrong_type_and_wrong_values_are_refused_with_status_and_causes(place):
    path = f"/api/v1/namespaces/{place.namespace}/services"
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "S_"},
        "spec": {"ports": [{"port": 0}]},
    }
    code, status = place.http("POST", path, service)
    assert (code, status["kind"], status["reason"]) == (422, "Status", "Invalid")
    causes = {cause["field"] for cause in status["details"]["causes"]}
    assert {"metadata.name", "spec.ports[0].port"} <= causes
    service["spec"]["ports"] = "none"
    code, status = place.http("POST", path, service)
    assert code == 400
    assert "ports" in status["message"]
    said = place.refused("apply", "-f", "-", stdin=json.dumps(service))
    assert "spec.ports" in said
    assert place("get", "services", "-o", "name") == ""


def test_what_a_client_sent_comes_back_whole(place):
    place.apply(
        {
            **SETTINGS,
            "metadata": {
                "name": "settings",
                "annotations": {"example.org/note": "ä\n{}"},
                "labels": {"x": "y"},
            },
            "immutable": True,
        }
    )
    found = place.get("configmap", "settings")
    assert found["metadata"]["annotations"]["example.org/note"] == "ä\n{}"
    assert found["immutable"] is True
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": {
            "containers": [{"name": "c", "image": "x", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
            "volumes": [{"name": "v", "csi": {"driver": "d.example.org", "volumeAttributes": {"k": "v"}}}],
            "topologySpreadConstraints": [
                {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}
            ],
        },
    }
    place.apply(pod)
    place("wait", "pod/p", "--for=condition=PodScheduled", "--timeout=30s")  # no node here has that driver
    spec = place.get("pod", "p")["spec"]
    assert spec["volumes"][0]["csi"] == pod["spec"]["volumes"][0]["csi"]
    assert spec["topologySpreadConstraints"] == pod["spec"]["topologySpreadConstraints"]


def test_patches_of_three_kinds_change_what_runs(place):
    place.deploy("web")
    place(
        "patch",
        "deployment",
        "web",
        "--type=json",
        "-p",
        '[{"op":"replace","path":"/spec/replicas","value":2}]',
    )
    place.rolled_out("web")
    assert len(place.pods("web")) == 2
    place("patch", "deployment", "web", "--type=merge", "-p", '{"spec":{"replicas":1}}')
    place("wait", "deployment/web", "--for=jsonpath={.status.replicas}=1", "--timeout=30s")
    # strategic: containers are merged by name, so the port stays
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "example/web:2"}]}}}}
    place("patch", "deployment", "web", "-p", json.dumps(patch))
    place.rolled_out("web")
    (pod,) = place.pods("web").values()
    assert pod["spec"]["containers"][0]["image"] == "example/web:2"
    assert pod["spec"]["containers"][0]["ports"][0]["containerPort"] == 8080
    said = place.refused("patch", "deployment", "web", "--type=merge", "-p", '{"spec":{"replicas":-1}}')
    assert "spec.replicas" in said


def test_server_side_apply_names_who_owns_a_field(place):
    first = json.dumps(SETTINGS)
    second = json.dumps({**SETTINGS, "data": {"a": "2"}})
    place("apply", "--server-side", "--field-manager=one", "-f", "-", stdin=first)
    said = place.refused("apply", "--server-side", "--field-manager=two", "-f", "-", stdin=second)
    assert "conflict" in said
    assert '"one"' in said
    assert ".data.a" in said
    words = ("apply", "--server-side", "--field-manager=two", "--force-conflicts", "-f", "-")
    place(*words, stdin=second)
    assert place.get("configmap", "settings")["data"] == {"a": "2"}


def test_labels_annotations_and_selectors(place):
    place.deploy("web", replicas=2)
    name = place.pod("web")
    place("label", "pod", name, "tier=front")
    place("annotate", "pod", name, "example.org/note=seen")
    assert place("get", "pods", "-l", "tier=front", "-o", "name").split() == [f"pod/{name}"]
    assert len(place("get", "pods", "-l", "app in (web),tier!=front", "-o", "name").split()) == 1
    node = place.get("pod", name)["spec"]["nodeName"]
    on_node = place("get", "pods", "--field-selector", f"spec.nodeName={node}", "-o", "name").split()
    assert on_node == [f"pod/{name}"]
    assert place("get", "pods", "--field-selector", "status.phase=Running", "-o", "name").count("pod/") == 2
    assert place("get", "pods", "--field-selector", "status.phase!=Running", "-o", "name") == ""
    assert "example.org/note" in place.get("pod", name)["metadata"]["annotations"]
    wide = place("get", "pod", name, "-o", "wide").splitlines()
    assert wide[0].split()[:7] == ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE"]
    assert wide[1].split()[1:4] == ["1/1", "Running", "0"]
    assert node in wide[1]
    # a pod that no longer has the label is let go and replaced
    place("label", "pod", name, "app=other", "--overwrite")
    place.rolled_out("web")
    place("wait", "deployment/web", "--for=jsonpath={.status.readyReplicas}=2", "--timeout=30s")
    assert name not in place.pods("web")
    assert "ownerReferences" not in place.get("pod", name)["metadata"]


def test_a_watch_shows_a_change(place):
    place.deploy("web")
    watch = place.start("get", "deployment", "web", "-w", "-o", "jsonpath={.spec.replicas}{'\\n'}")
    assert watch.line() == "1"
    place("scale", "deployment", "web", "--replicas=3")
    watch.until("3")


def test_names_are_generated(place):
    document = {**SETTINGS, "metadata": {"generateName": "made-"}}
    names = {place("create", "-f", "-", "-o", "name", stdin=json.dumps(document)) for _ in range(2)}
    assert len(names) == 2
    assert all(name.startswith("configmap/made-") and len(name.strip()) > 15 for name in names)


def test_a_finalizer_holds_an_object_until_it_is_taken_away(place):
    place.apply({**SETTINGS, "metadata": {"name": "settings", "finalizers": ["example.org/hold"]}})
    place("delete", "configmap", "settings", "--wait=false")
    held = place.get("configmap", "settings")["metadata"]
    assert held["deletionTimestamp"]
    place(
        "patch",
        "configmap",
        "settings",
        "--type=json",
        "-p",
        '[{"op":"remove","path":"/metadata/finalizers"}]',
    )
    place("wait", "configmap/settings", "--for=delete", "--timeout=10s")
    assert "NotFound" in place.refused("get", "configmap", "settings")


def test_deleting_an_owner_removes_what_it_owns(place):
    place.deploy("web", replicas=2)
    pods = [f"pod/{name}" for name in place.pods("web")]
    place("delete", "deployment", "web")
    place("wait", "replicaset", "-l", "app=web", "--for=delete", "--timeout=20s")
    place("wait", *pods, "--for=delete", "--timeout=30s")
    assert place("get", "pods,replicasets", "-o", "name") == ""


def test_orphans_stay_and_are_taken_over_again(place):
    place.deploy("web", replicas=2)
    pods = set(place.pods("web"))
    place("delete", "deployment", "web", "--cascade=orphan")
    assert "NotFound" in place.refused("get", "deployment", "web")
    (replica_set,) = place.get("replicasets")["items"]
    assert "ownerReferences" not in replica_set["metadata"]
    assert set(place.pods("web")) == pods
    place.deploy("web", replicas=2)
    assert set(place.pods("web")) == pods
    (replica_set,) = place.get("replicasets")["items"]
    assert replica_set["metadata"]["ownerReferences"][0]["kind"] == "Deployment"


def test_foreground_deletion_ends_the_pods_first(place):
    place.deploy("web")
    place("delete", "deployment", "web", "--cascade=foreground", "--timeout=30s")
    assert place("get", "pods,replicasets,deployments", "-o", "name") == ""


def test_deleting_a_namespace_empties_it(place):
    place("create", "namespace", f"{place.namespace}-more")
    words = ("-n", f"{place.namespace}-more")
    place(*words, "create", "deployment", "web", "--image=web", "--port=80", "--replicas=2")
    place(*words, "create", "configmap", "settings", "--from-literal=a=1")
    place(*words, "expose", "deployment", "web")
    place(*words, "rollout", "status", "deployment/web", "--timeout=30s")
    place("delete", "namespace", f"{place.namespace}-more", "--timeout=40s")
    kinds = "pods,services,endpointslices,endpoints,configmaps,deployments,replicasets,serviceaccounts,events"
    assert place(*words, "get", kinds, "-o", "name") == ""
    said = place.refused(*words, "create", "configmap", "late")
    assert "not found" in said


def test_a_stale_write_is_a_conflict(place):
    place.apply(SETTINGS)
    stale = place.get("configmap", "settings")
    place("patch", "configmap", "settings", "--type=merge", "-p", '{"data":{"a":"2"}}')
    said = place.refused("replace", "-f", "-", stdin=json.dumps({**stale, "data": {"a": "3"}}))
    assert "Conflict" in said
    assert "the object has been modified" in said
    path = f"/api/v1/namespaces/{place.namespace}/configmaps/settings"
    code, status = place.http("PUT", path, stale)
    assert (code, status["reason"]) == (409, "Conflict")
    assert place.get("configmap", "settings")["data"] == {"a": "2"}
    code, status = place.http("POST", path.rpartition("/")[0], SETTINGS)
    assert (code, status["reason"]) == (409, "AlreadyExists")


def test_tables_explain_and_resources(place):
    kinds = place("api-resources", "-o", "name").split()
    wanted = {
        "namespaces",
        "nodes",
        "pods",
        "services",
        "endpointslices.discovery.k8s.io",
        "endpoints",
        "configmaps",
        "secrets",
        "serviceaccounts",
        "events",
        "leases.coordination.k8s.io",
        "deployments.apps",
        "replicasets.apps",
        "networkpolicies.networking.k8s.io",
        "clusternetworkpolicies.policy.networking.k8s.io",
        "ippools.netloom.io",
        "ipblocks.netloom.io",
    }
    assert wanted <= set(kinds)
    assert "containerPort" in place("explain", "pod.spec.containers.ports")
    nodes = place("get", "nodes").splitlines()
    assert [line.split()[1] for line in nodes] == ["STATUS", "Ready", "Ready", "Ready"]
    place.service("web")
    assert "ClusterIP" in place("get", "service", "web")
    assert "Selector:" in place("describe", "service", "web")
    code, table = place.http("GET", f"/api/v1/namespaces/{place.namespace}/services?includeObject=None")
    assert code == 200
    assert table["kind"] == "ServiceList"


@pytest.mark.parametrize("kind", ["secret", "serviceaccount", "lease", "event"])
def test_other_kinds_are_kept(place, kind):
    documents = {
        "secret": {"apiVersion": "v1", "kind": "Secret", "stringData": {"k": "v"}},
        "serviceaccount": {"apiVersion": "v1", "kind": "ServiceAccount"},
        "lease": {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "spec": {"holderIdentity": "me", "leaseDurationSeconds": 15},
        },
        "event": {
            "apiVersion": "v1",
            "kind": "Event",
            "involvedObject": {"kind": "Namespace", "name": place.namespace, "namespace": place.namespace},
            "reason": "Tried",
            "message": "a test",
        },
    }
    place.apply({**documents[kind], "metadata": {"name": "kept"}})
    found = place.get(kind, "kept")
    if kind == "secret":
        assert found["data"] == {"k": "dg=="}
    assert found["metadata"]["uid"]
    place("delete", kind, "kept")


def test_every_namespace_has_a_service_account(place):
    place("wait", "serviceaccount/default", "--for=create", "--timeout=10s")
    assert place.get("serviceaccount", "default")["metadata"]["name"] == "default"
