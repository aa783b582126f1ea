"""Workloads that keep their names, run on each node, or end: through kubectl, with stand-ins."""

import json

import pytest

pytestmark = pytest.mark.cluster


def template(app, *, grace=1, policy="Always", annotations=None, **container):
    return {
        "metadata": {"labels": {"app": app}, "annotations": annotations or {}},
        "spec": {
            "terminationGracePeriodSeconds": grace,
            "restartPolicy": policy,
            "containers": [{"name": "main", "image": f"example.org/{app}:1", **container}],
        },
    }


def document(kind, name, spec, version="apps/v1"):
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec}


def job(name, **spec):
    policy, notes = spec.pop("policy", "Never"), spec.pop("annotations", None)
    return document(
        "Job", name, {"template": template(name, policy=policy, annotations=notes), **spec}, "batch/v1"
    )


def images(place, app):
    return {n: p["spec"]["containers"][0]["image"] for n, p in place.pods(app).items()}


def test_a_stateful_set_keeps_names_and_data_and_can_go_back(place):
    place.service("db", {"port": 5432}, clusterIP="None")
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
    }
    spec = {
        "serviceName": "db",
        "replicas": 2,
        "selector": {"matchLabels": {"app": "db"}},
        "template": template(
            "db", ports=[{"containerPort": 5432}], volumeMounts=[{"name": "data", "mountPath": "/data"}]
        ),
        "volumeClaimTemplates": [claim],
    }
    place.apply(document("StatefulSet", "db", spec))
    place("rollout", "status", "statefulset/db", "--timeout=90s")
    assert sorted(place.pods("db")) == ["db-0", "db-1"]
    # each finds the other by a name of its own
    address = place.pods("db")["db-1"]["status"]["podIP"]
    assert address in place.run("db-0", "getent", "hosts", "db-1.db").stdout
    place.run("db-0", "sh", "-c", "echo mine > /data/note")
    place("set", "image", "statefulset/db", "main=example.org/db:2")
    place("rollout", "status", "statefulset/db", "--timeout=90s")
    assert set(images(place, "db").values()) == {"example.org/db:2"}
    assert place.run("db-0", "cat", "/data/note").stdout == "mine\n"
    history = place("rollout", "history", "statefulset/db").split()
    assert [word for word in history if word.isdecimal()] == ["1", "2"]
    place("rollout", "undo", "statefulset/db")
    place("rollout", "status", "statefulset/db", "--timeout=90s")
    assert set(images(place, "db").values()) == {"example.org/db:1"}
    place("scale", "statefulset/db", "--replicas=1")
    place("wait", "--for=delete", "pod/db-1", "--timeout=60s")
    claims = place.get("pvc")["items"]
    assert {c["metadata"]["name"]: c["status"]["phase"] for c in claims} == {
        "data-db-0": "Bound",
        "data-db-1": "Bound",
    }


def test_a_deployment_goes_back_and_rests_while_it_is_paused(place):
    place.deploy("web")
    place("set", "image", "deployment/web", "web=example.org/web:2")
    place.rolled_out("web")
    history = place("rollout", "history", "deployment/web").split()
    assert [word for word in history if word.isdecimal()] == ["1", "2"]
    place("rollout", "undo", "deployment/web")
    place.rolled_out("web")
    assert set(images(place, "web").values()) == {"example/web"}
    place("rollout", "pause", "deployment/web")
    place("set", "image", "deployment/web", "web=example.org/web:3")
    generation = place.get("deployment", "web")["metadata"]["generation"]
    seen = f"--for=jsonpath={{.status.observedGeneration}}={generation}"
    place("wait", seen, "deployment/web", "--timeout=60s")
    assert set(images(place, "web").values()) == {"example/web"}
    place("rollout", "resume", "deployment/web")
    place.rolled_out("web")
    assert set(images(place, "web").values()) == {"example.org/web:3"}


def test_a_daemon_set_is_on_every_node_and_can_be_restarted_and_undone(place):
    spec = {"selector": {"matchLabels": {"app": "log"}}, "template": template("log")}
    place.apply(document("DaemonSet", "log", spec))
    place("rollout", "status", "daemonset/log", "--timeout=90s")
    nodes = {p["spec"]["nodeName"] for p in place.pods("log").values()}
    assert nodes == {n["metadata"]["name"] for n in place.get("nodes")["items"]}
    before = set(place.pods("log"))
    place("rollout", "restart", "daemonset/log")
    place("rollout", "status", "daemonset/log", "--timeout=90s")
    assert not before & set(place.pods("log"))
    place("rollout", "undo", "daemonset/log", "--to-revision=1")
    place("rollout", "status", "daemonset/log", "--timeout=90s")
    found = place.get("daemonset", "log")
    assert (
        "annotations" not in found["spec"]["template"]["metadata"]
        or not (found["spec"]["template"]["metadata"]["annotations"])
    )


def test_jobs_end_well_or_as_their_pods_do(place):
    fails = {"netloom.io/exit-code": "3"}
    place.apply(
        job("counted", completions=3, parallelism=2),
        job("indexed", completions=2, parallelism=2, completionMode="Indexed"),
        job("failing", backoffLimit=0, annotations=fails),
        job("gone", ttlSecondsAfterFinished=0),
    )
    place("wait", "--for=condition=complete", "job/counted", "job/indexed", "--timeout=90s")
    place("wait", "--for=condition=failed", "job/failing", "--timeout=90s")
    place("wait", "--for=delete", "job/gone", "--timeout=90s")
    assert place.get("job", "counted")["status"]["succeeded"] == 3
    assert place.get("job", "indexed")["status"]["completedIndexes"] == "0,1"
    failed = place.get("job", "failing")["status"]
    assert [c["reason"] for c in failed["conditions"] if c["type"] == "Failed"] == ["BackoffLimitExceeded"]
    (pod,) = place.get("pods", "-l", "job-name=failing")["items"]
    assert pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 3
    assert "stand-in" in place("logs", "job/indexed")
    place("delete", "job", "counted")
    place("wait", "--for=delete", "pod", "-l", "job-name=counted", "--timeout=60s")


def test_a_cron_job_begins_jobs_by_itself_and_by_hand(place):
    spec = {
        "schedule": "@every 2s",
        "timeZone": "Etc/UTC",
        "concurrencyPolicy": "Forbid",
        "jobTemplate": {"spec": {"template": template("tick", policy="OnFailure")}},
    }
    place.apply(document("CronJob", "tick", spec, "batch/v1"))
    told = 'jsonpath={"success "}{.status.lastSuccessfulTime}{"\\n"}'
    place.start("get", "cronjob", "tick", "--watch", "-o", told).until("success 2", timeout=90)
    place("patch", "cronjob", "tick", "-p", json.dumps({"spec": {"suspend": True}}))
    place("create", "job", "by-hand", "--from=cronjob/tick")
    place("wait", "--for=condition=complete", "job/by-hand", "--timeout=90s")
