"""The official Python client, through nothing but the kubeconfig."""

import gc

import pytest
import yaml
from kubernetes import client, config, dynamic, utils, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.stream import portforward, stream
from tests.cluster.conftest import ROOT

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning"),
]


@pytest.fixture
def api(command, plain, tmp_path):
    """A client of the library, as a person sets it up."""
    path = tmp_path / "config"
    path.write_text(command.netloom("kubeconfig", "--name", plain).stdout)
    with config.new_client_from_config(str(path)) as made:
        yield made
    gc.collect()  # the library leaves connections of streams to whoever collects them


def pod(name, **spec):
    containers = [{"name": "c", "image": "example/web", "ports": [{"containerPort": 80}]}]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
            "spec": {"terminationGracePeriodSeconds": 0, "containers": containers, **spec}}  # fmt: skip


def wait_ready(core, space, name):
    watching = watch.Watch()
    for event in watching.stream(
        core.list_namespaced_pod, space, field_selector=f"metadata.name={name}", timeout_seconds=60
    ):
        found = event["object"]
        if any(c.type == "Ready" and c.status == "True" for c in found.status.conditions or ()):
            watching.stop()
            return found
    raise AssertionError(f"{name} is not ready")


def test_objects_come_and_go(api, place):
    core, apps, space = client.CoreV1Api(api), client.AppsV1Api(api), place.namespace
    assert client.VersionApi(api).get_code().major == "1"
    made = core.create_namespaced_config_map(
        space, client.V1ConfigMap(metadata={"name": "a"}, data={"k": "1"})
    )
    made.data["k"] = "2"
    changed = core.replace_namespaced_config_map("a", space, made)
    made.metadata.resource_version = "1"
    with pytest.raises(ApiException) as conflict:
        core.replace_namespaced_config_map("a", space, made)
    assert (conflict.value.status, conflict.value.reason) == (409, "Conflict")
    assert changed.metadata.resource_version != made.metadata.resource_version
    core.patch_namespaced_config_map("a", space, {"data": {"more": "3"}})
    assert core.read_namespaced_config_map("a", space).data == {"k": "2", "more": "3"}
    tried = core.create_namespaced_config_map(
        space, client.V1ConfigMap(metadata={"name": "b"}), dry_run="All"
    )
    assert tried.metadata.uid
    with pytest.raises(ApiException) as missing:
        core.read_namespaced_config_map("b", space)
    assert missing.value.status == 404
    utils.create_from_yaml(api, str(ROOT / "examples" / "apps" / "guestbook.yaml"), namespace=space)
    assert len(apps.list_namespaced_deployment(space).items) == 3
    core.delete_collection_namespaced_service(space, label_selector="app=redis")
    assert [s.metadata.name for s in core.list_namespaced_service(space).items] == ["frontend"]
    first = core.list_namespaced_secret(space, limit=1)
    assert first.items == [] or first.metadata._continue is None
    for n in range(5):
        core.create_namespaced_secret(
            space, client.V1Secret(metadata={"name": f"s{n}"}, string_data={"a": "b"})
        )
    page, names = core.list_namespaced_secret(space, limit=2), []
    while True:
        names += [one.metadata.name for one in page.items]
        if not page.metadata._continue:
            break
        page = core.list_namespaced_secret(space, limit=2, _continue=page.metadata._continue)
    assert [n for n in names if n.startswith("s")] == [f"s{n}" for n in range(5)]


def test_a_watch_goes_on_where_it_was(api, place):
    core, space = client.CoreV1Api(api), place.namespace
    since = core.list_namespaced_config_map(space).metadata.resource_version
    for n in range(3):
        core.create_namespaced_config_map(space, client.V1ConfigMap(metadata={"name": f"w{n}"}))
    core.delete_namespaced_config_map("w0", space)
    seen = []
    watching = watch.Watch()
    for event in watching.stream(
        core.list_namespaced_config_map, space, resource_version=since, timeout_seconds=30
    ):
        seen.append((event["type"], event["object"].metadata.name))
        if len(seen) == 4:
            watching.stop()
    assert seen == [("ADDED", "w0"), ("ADDED", "w1"), ("ADDED", "w2"), ("DELETED", "w0")]


def test_exec_logs_and_ports_of_a_pod(api, place):
    core, space = client.CoreV1Api(api), place.namespace
    core.create_namespaced_pod(space, pod("web"))
    found = wait_ready(core, space, "web")
    run = stream(
        core.connect_get_namespaced_pod_exec, "web", space, command=["sh", "-c", "head -c5"],
        stdin=True, stdout=True, stderr=True, tty=False, _preload_content=False,
    )  # fmt: skip
    run.write_stdin("hello")
    run.update(timeout=60)
    assert run.read_stdout(timeout=60) == "hello"
    run.close()
    done = stream(
        core.connect_get_namespaced_pod_exec, "web", space, command=["sh", "-c", "echo out; exit 3"],
        stdin=False, stdout=True, stderr=True, tty=False, _preload_content=False,
    )  # fmt: skip
    done.run_forever(timeout=60)
    assert (done.read_stdout(), done.returncode) == ("out\n", 3)
    forward = portforward(core.connect_get_namespaced_pod_portforward, "web", space, ports="80")
    socket = forward.socket(80)
    socket.settimeout(60)
    socket.sendall(b"GET / HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n")
    answer = b""
    while more := socket.recv(65536):
        answer += more
    assert b"HTTP/1.1 200" in answer
    assert b"web" in answer
    through = core.connect_get_namespaced_pod_proxy("web:80", space)
    assert found.metadata.name in str(through)
    assert isinstance(core.read_namespaced_pod_log("web", space, tail_lines=1), str)


def test_kinds_that_the_client_learns_from_the_server(api, place):
    wide = dynamic.DynamicClient(api)
    group = f"g{place.namespace}.example"
    shape = {"type": "object", "properties": {"spec": {"type": "object", "required": ["size"], "properties": {
        "size": {"type": "integer", "minimum": 1}, "color": {"type": "string", "default": "red"}}}}}  # fmt: skip
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": shape}}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": f"boxes.{group}"},
        "spec": {"group": group, "scope": "Namespaced", "versions": [version],
                 "names": {"plural": "boxes", "singular": "box", "kind": "Box"}},
    }  # fmt: skip
    definitions = wide.resources.get(api_version="apiextensions.k8s.io/v1", kind="CustomResourceDefinition")
    definitions.create(definition)
    try:
        place("wait", f"crd/boxes.{group}", "--for=condition=Established", "--timeout=30s")
        wide.resources.invalidate_cache()
        boxes = wide.resources.get(api_version=f"{group}/v1", kind="Box")
        made = boxes.create(
            {
                "apiVersion": f"{group}/v1",
                "kind": "Box",
                "metadata": {"name": "a"},
                "spec": {"size": 2, "odd": 1},
            },
            namespace=place.namespace,
        )
        assert made.spec.to_dict() == {"size": 2, "color": "red"}
        with pytest.raises(dynamic.exceptions.UnprocessibleEntityError, match="size"):
            boxes.create(
                {"apiVersion": f"{group}/v1", "kind": "Box", "metadata": {"name": "b"}, "spec": {"size": 0}},
                namespace=place.namespace,
            )
        one = {"apiVersion": f"{group}/v1", "kind": "Box", "metadata": {"name": "a"}, "spec": {"size": 3}}
        boxes.server_side_apply(
            one, name="a", namespace=place.namespace, field_manager="one", force_conflicts=True
        )
        with pytest.raises(dynamic.exceptions.ConflictError):
            boxes.server_side_apply(
                {**one, "spec": {"size": 4}}, name="a", namespace=place.namespace, field_manager="two"
            )
    finally:
        definitions.delete(name=f"boxes.{group}")


def test_a_token_may_what_its_role_says(api, place):
    core, rbac, space = client.CoreV1Api(api), client.RbacAuthorizationV1Api(api), place.namespace
    core.create_namespaced_service_account(space, client.V1ServiceAccount(metadata={"name": "reader"}))
    rbac.create_namespaced_role(
        space,
        yaml.safe_load("""
        {metadata: {name: reader}, rules: [{apiGroups: [""], resources: [pods], verbs: [get, list]}]}"""),
    )
    rbac.create_namespaced_role_binding(space, yaml.safe_load("""
        {metadata: {name: reader}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader},
         subjects: [{kind: ServiceAccount, name: reader}]}"""))  # fmt: skip
    token = core.create_namespaced_service_account_token(
        "reader",
        space,
        client.AuthenticationV1TokenRequest(
            spec=client.V1TokenRequestSpec(audiences=[], expiration_seconds=600)
        ),
    ).status.token
    told = client.Configuration.get_default_copy()
    told.host, told.ssl_ca_cert = api.configuration.host, api.configuration.ssl_ca_cert
    told.cert_file = told.key_file = None
    told.api_key = {"authorization": f"Bearer {token}"}
    with client.ApiClient(told) as theirs:
        reading = client.CoreV1Api(theirs)
        assert reading.list_namespaced_pod(space).items == []
        with pytest.raises(ApiException) as refused:
            reading.list_namespaced_secret(space)
        assert refused.value.status == 403
        assert f"system:serviceaccount:{space}:reader" in refused.value.body
        who = client.AuthenticationV1Api(theirs).create_self_subject_review(client.V1SelfSubjectReview())
        assert who.status.user_info.username == f"system:serviceaccount:{space}:reader"
