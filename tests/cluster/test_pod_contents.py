"""What the containers of a pod are given: volumes of every kind, variables, and what happens while something is missing."""

import json
from pathlib import Path

import pytest

from netloom.testing import images as made

pytestmark = pytest.mark.cluster

BUSYBOX = Path("/usr/bin/busybox")
APPLETS = ("sh", "cat", "wc", "echo", "sleep", "true", "test", "rm", "touch", "ps", "id")
IMAGE = "example/tools:1"


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    if not BUSYBOX.exists():
        pytest.skip("busybox is not installed: apt-get install busybox-static")
    programs = made.programs({"bin/busybox": BUSYBOX}, {f"bin/{name}": "busybox" for name in APPLETS})
    image = made.Image(layers=(made.layer([*programs]),), config={"Env": ["PATH=/bin"]})
    return made.docker_archive(tmp_path_factory.mktemp("tools") / "tools.tar", image, [IMAGE])


@pytest.fixture
def tools(place, archive):
    place.command.netloom("image", "load", str(archive))
    return place


def container(name="c", image="example/app", **more):
    return {"name": name, "image": image, **more}


def pod(*containers, name="p", labels=None, **spec):
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": list(containers), **spec},
    }


def keeper(kind, name, data):
    field = "data" if kind == "ConfigMap" else "stringData"
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, field: data}


def script(text, name="c", **more):
    return container(name, IMAGE, command=["sh", "-c", text], **more)


def ready(place, name="p"):
    place("wait", f"pod/{name}", "--for=condition=Ready", "--timeout=60s")


def in_phase(place, phase, name="p"):
    words = (f"--for=jsonpath={{.status.phase}}={phase}", "--timeout=60s", "-o", "json")
    return json.loads(place("wait", f"pod/{name}", *words))["status"]


VOLUMES = [
    {"name": "conf", "configMap": {"name": "conf"}},
    {"name": "pw", "secret": {"secretName": "pw", "defaultMode": 0o400}},
    {"name": "scratch", "emptyDir": {}},
    {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
    {"name": "host", "hostPath": {"path": "/netloom-test/of/a/node", "type": "DirectoryOrCreate"}},
    {"name": "info", "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
    {"name": "all", "projected": {"sources": [
        {"configMap": {"name": "conf", "items": [{"key": "a", "path": "sub/a"}]}}, {"secret": {"name": "pw"}}]}},
]  # fmt: skip
MOUNTS = [
    {"name": "conf", "mountPath": "/conf"},
    {"name": "conf", "mountPath": "/etc/one.conf", "subPath": "a"},
    {"name": "pw", "mountPath": "/etc/pw"},
    {"name": "scratch", "mountPath": "/scratch"},
    {"name": "memory", "mountPath": "/memory"},
    {"name": "host", "mountPath": "/host"},
    {"name": "info", "mountPath": "/info"},
    {"name": "all", "mountPath": "/all"},
]
SHOW = "cat /conf/a /etc/one.conf /etc/pw/word /all/sub/a /all/word; stat -c %a /etc/pw/..data/word; cat /info/labels"
UNTIL = 'timeout 50 sh -c "until grep -q new /conf/a && grep -q green /info/labels; do sleep 0.1; done"'


def test_volumes_are_seen_and_follow_their_objects(place):
    place.apply(keeper("ConfigMap", "conf", {"a": "old\n"}), keeper("Secret", "pw", {"word": "hush\n"}))
    both = (
        container(volumeMounts=MOUNTS),
        container("d", volumeMounts=[{"name": "scratch", "mountPath": "/s"}]),
    )
    place.apply(pod(*both, labels={"color": "red"}, volumes=VOLUMES))
    ready(place)
    assert place.run("p", "sh", "-c", SHOW).stdout.split("\n") == [
        "old", "old", "hush", "old", "hush", "400", 'color="red"']  # fmt: skip
    place.run("p", "sh", "-c", "echo 1 > /scratch/x; echo 1 > /memory/x; echo 1 > /host/x")
    assert place.run("p", "cat", "/s/x", container=("-c", "d")).stdout == "1\n"
    assert "Read-only" in place.refused("exec", "p", "--", "touch", "/conf/b")
    assert place.run("p", "sh", "-c", "head -c 2000000 /dev/zero > /memory/y", check=False).returncode != 0
    place("patch", "configmap", "conf", "-p", '{"data": {"a": "new\\n"}}')
    place("label", "pod", "p", "--overwrite", "color=green")
    place.run("p", "sh", "-c", UNTIL)
    assert place.run("p", "cat", "/etc/one.conf").stdout == "old\n", "a single file stays as it was"


def test_what_a_pod_refers_to_is_waited_for_and_named(place):
    env = [{"name": "WORD", "valueFrom": {"secretKeyRef": {"name": "later", "key": "word"}}}]
    mounts = [{"name": "v", "mountPath": "/v"}]
    volumes = [{"name": "v", "configMap": {"name": "soon"}}]
    place.apply(pod(container(env=env, volumeMounts=mounts), volumes=volumes))
    events = ("events", "--field-selector", "involvedObject.name=p,reason=FailedMount")
    place("wait", "pod/p", "--for=jsonpath={.status.containerStatuses[0].state.waiting.reason}=ContainerCreating", "--timeout=60s")  # fmt: skip
    place.apply(keeper("ConfigMap", "soon", {"a": "1"}))
    reason = "{.status.containerStatuses[0].state.waiting.reason}"
    place("wait", "pod/p", f"--for=jsonpath={reason}=CreateContainerConfigError", "--timeout=60s")
    assert 'configmap "soon" not found' in place("get", *events)
    said = place.get("pod", "p")["status"]["containerStatuses"][0]["state"]["waiting"]["message"]
    assert said == 'secret "later" not found'
    place.apply(keeper("Secret", "later", {"word": "hush"}))
    ready(place)
    assert place.run("p", "sh", "-c", "echo $WORD; cat /v/a").stdout == "hush\n1"


def test_init_containers_go_one_by_one_and_sidecars_stay_until_the_end(tools):
    note = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    wait = "trap 'echo over >> /v/log; exit 0' TERM; echo side >> /v/log; while :; do sleep 0.1; done"
    tools.apply(
        pod(
            script("echo main >> /v/log; cat /v/log; exit 0", **note),
            restartPolicy="Never",
            initContainers=[
                script("echo first >> /v/log", "one", **note),
                script(wait, "side", restartPolicy="Always", **note),
                script("until test $(cat /v/log | wc -l) = 2; do sleep 0.1; done; echo third", "two", **note),
            ],
            volumes=[{"name": "v", "emptyDir": {}}],
        )
    )
    status = in_phase(tools, "Succeeded")
    assert tools("logs", "p", "-c", "c").split() == ["first", "side", "main"]
    assert tools("logs", "p", "-c", "two") == "third\n"
    ends = {s["name"]: s["state"]["terminated"]["exitCode"] for s in status["initContainerStatuses"]}
    assert ends == {"one": 0, "side": 0, "two": 0}
    assert "completed" in tools.refused("exec", "p", "--", "true")


def test_a_failed_init_container_fails_the_pod_and_nothing_else_starts(tools):
    tools.apply(pod(script("sleep 100"), restartPolicy="Never", initContainers=[script("exit 4", "one")]))
    status = in_phase(tools, "Failed")
    assert status["initContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 4
    assert status["containerStatuses"][0]["state"] == {"waiting": {"reason": "PodInitializing"}}
    assert "Init:Error" in tools("get", "pod", "p")


def test_a_pod_that_is_active_for_too_long_is_ended(tools):
    tools.apply(pod(script("sleep 100"), activeDeadlineSeconds=1))
    status = in_phase(tools, "Failed")
    assert status["reason"] == "DeadlineExceeded"


def test_somebody_looks_around_in_a_running_pod(tools):
    tools.apply(pod(script("sleep 100", env=[{"name": "OF", "value": "main"}])))
    ready(tools)
    words = ("--image", IMAGE, "--target=c", "--container=eye", "--profile=general", "--attach=false")
    tools("debug", "p", *words, "--", "sh", "-c", "ps; echo looked")
    path = "{.status.ephemeralContainerStatuses[0].state.terminated.exitCode}"
    tools("wait", "pod/p", f"--for=jsonpath={path}=0", "--timeout=60s")
    said = tools("logs", "p", "-c", "eye")
    assert "looked" in said
    assert "sleep 100" in said, "it sees the processes of the one that it looks at"
    assert tools.get("pod", "p")["status"]["containerStatuses"][0]["restartCount"] == 0


def test_a_claim_keeps_what_was_written(place):
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
    }
    mounts = [{"name": "v", "mountPath": "/data"}]
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]
    place.apply(claim, pod(container(volumeMounts=mounts), volumes=volumes))
    ready(place)
    place.run("p", "sh", "-c", "echo kept > /data/f")
    place("delete", "pod", "p")
    own = {"volumeClaimTemplate": {"spec": claim["spec"]}}
    volumes.append({"name": "own", "ephemeral": own})
    mounts.append({"name": "own", "mountPath": "/own"})
    place.apply(pod(container(volumeMounts=mounts), name="q", volumes=volumes))
    ready(place, "q")
    assert place.run("q", "sh", "-c", "cat /data/f; touch /own/f; ls /own").stdout == "kept\nf\n"


def test_a_pod_has_its_account_at_the_usual_place(place):
    place.apply(pod(container()))
    ready(place)
    here = "/var/run/secrets/kubernetes.io/serviceaccount"
    assert place.run("p", "cat", f"{here}/namespace").stdout == place.namespace
    assert place.run("p", "cat", f"{here}/ca.crt").stdout.startswith("-----BEGIN CERTIFICATE-----")
    assert place.run("p", "cat", f"{here}/token").stdout.count(".") == 2
    assert "Read-only" in place.refused("exec", "p", "--", "touch", f"{here}/x")
