"""Applications in the shape that their authors publish (examples/apps), applied as they are, and asked for what their users rely on."""

import contextlib
import json

import pytest
from tests.cluster.conftest import ROOT, _place

APPS = ROOT / "examples" / "apps"

pytestmark = pytest.mark.cluster


@pytest.fixture
def app(command, plain):
    """Applies an application in a namespace of its own."""
    with contextlib.ExitStack() as stack:

        def apply(name):
            place = stack.enter_context(contextlib.contextmanager(_place)(command, plain))
            place("apply", "-f", str(APPS / f"{name}.yaml"))
            return place

        yield apply


def ready(place, *names):
    for name in names:
        place("rollout", "status", name, "--timeout=90s")


def asked(place, pod, *words):
    return place.run(pod, *words).stdout


def test_the_guestbook(app):
    place = app("guestbook")
    ready(place, "deployment/frontend", "deployment/redis-leader", "deployment/redis-follower")
    front = next(iter(place.pods("guestbook")))
    said = asked(place, front, "curl", "-sS", "-H", "accept: application/json", "http://redis-leader:6379/")
    assert json.loads(said)["pod"] in place.pods("redis")
    assert place.get("service", "frontend")["spec"]["ports"][0]["nodePort"]
    assert asked(place, front, "sh", "-c", "echo $GET_HOSTS_FROM,$REDIS_LEADER_SERVICE_PORT") == "dns,6379\n"


def database(place):
    (found,) = place.get("pods", "-l", "tier=mysql")["items"]
    return found["metadata"]["name"]


def test_the_blog_keeps_its_data(app):
    place = app("blog")
    ready(place, "deployment/wordpress-mysql", "deployment/wordpress")
    for claim in ("mysql-pv-claim", "wp-pv-claim"):
        assert place.get("pvc", claim)["status"]["phase"] == "Bound"
    before = database(place)
    assert asked(place, before, "sh", "-c", "echo $MYSQL_ROOT_PASSWORD") == "example-only\n"
    asked(place, before, "sh", "-c", "echo kept > /var/lib/mysql/row")
    place("delete", "pod", before, "--wait=true")
    ready(place, "deployment/wordpress-mysql")
    after = database(place)
    assert after != before
    assert asked(place, after, "cat", "/var/lib/mysql/row") == "kept\n"
    place("wait", "service/wordpress", "--for=jsonpath={.status.loadBalancer.ingress[0].ip}", "--timeout=30s")


def test_the_ensemble_has_names_that_stay(app):
    place = app("zookeeper")
    ready(place, "statefulset/zk")
    pods = {f"zk-{n}": place.get("pod", f"zk-{n}") for n in range(3)}
    assert len({pod["spec"]["nodeName"] for pod in pods.values()}) == 3
    for name, pod in pods.items():
        found = asked(place, "zk-0", "getent", "ahostsv4", f"{name}.zk-hs").split()[0]
        assert found == pod["status"]["podIP"]
    assert asked(place, "zk-1", "hostname", "-f").strip() == f"zk-1.zk-hs.{place.namespace}.svc.cluster.local"
    evict = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": "zk-0", "namespace": place.namespace},
    }
    way = f"/api/v1/namespaces/{place.namespace}/pods/{{}}/eviction"
    place("wait", "pdb/zk-pdb", "--for=jsonpath={.status.disruptionsAllowed}=1", "--timeout=30s")
    place(
        "patch", "pod/zk-0", "-p", '{"metadata":{"finalizers":["example.org/held"]}}'
    )  # it does not come back meanwhile
    assert place.http("POST", way.format("zk-0"), evict)[0] == 201
    status, refused = place.http(
        "POST", way.format("zk-1"), {**evict, "metadata": {**evict["metadata"], "name": "zk-1"}}
    )
    assert (status, refused["reason"]) == (429, "TooManyRequests")
    watching = place.start("get", "pods", "--watch", "-o", 'jsonpath={.metadata.name} {.metadata.uid}{"\\n"}')
    place("patch", "pod/zk-0", "-p", '{"metadata":{"finalizers":null}}')
    while (seen := watching.line(60).split())[0] != "zk-0" or seen[1] == pods["zk-0"]["metadata"]["uid"]:
        pass
    ready(place, "statefulset/zk")
    assert place.get("pod", "zk-0")["spec"]["volumes"][0] == pods["zk-0"]["spec"]["volumes"][0]


def test_the_vote_with_everything_that_an_application_brings(app):
    place = app("voting")
    ready(
        place,
        "statefulset/db",
        "deployment/vote",
        "deployment/worker",
        "deployment/redis",
        "daemonset/metrics",
    )
    place("wait", "job/migrate", "--for=condition=Complete", "--timeout=60s")
    vote, worker = place.pod("vote"), place.pod("worker")
    assert asked(place, vote, "cat", "/etc/vote/settings.ini") == "[queue]\nhost = redis\n"
    assert (
        asked(place, vote, "sh", "-c", "echo $OPTION_A,$POD_IP")
        == f"Cats,{place.pods('vote')[vote]['status']['podIP']}\n"
    )
    assert len({pod["spec"]["nodeName"] for pod in place.pods("metrics").values()}) == 3
    connect = ("curl", "-sS", "-o", "/dev/null", "http://db-0.db:5432/", "--max-time")
    patient = (*connect, "5", "--retry", "10", "--retry-all-errors", "--retry-delay", "1")
    asked(place, worker, *patient)
    assert place.run(vote, *connect, "3", check=False).returncode == 28, "the policy names who may"
    place("delete", "networkpolicy/db")
    asked(place, vote, *patient)
    assert place.get("cronjob", "report")["spec"]["timeZone"] == "Europe/Berlin"
    place("create", "job", "--from=cronjob/report", "now")
    place("wait", "job/now", "--for=condition=Complete", "--timeout=60s")


def test_a_rendered_chart(app):
    place = app("chart")
    ready(place, "deployment/release-podinfo")
    pod = place.get("pods", "-l", "app.kubernetes.io/name=podinfo")["items"][0]["metadata"]["name"]
    assert (
        asked(place, pod, "cat", "/var/run/secrets/kubernetes.io/serviceaccount/namespace") == place.namespace
    )
    ask = (
        "curl -sS -o /dev/null -w %{http_code} --cacert /var/run/secrets/kubernetes.io/serviceaccount/ca.crt "
        '-H "authorization: Bearer $(cat /var/run/secrets/kubernetes.io/serviceaccount/token)" '
        f"https://kubernetes.default/api/v1/namespaces/{place.namespace}/configmaps/"
    )
    assert asked(place, pod, "sh", "-c", f"{ask}release-podinfo") == "200"
    assert asked(place, pod, "sh", "-c", f"{ask}kube-root-ca.crt") == "403", "the Role names one"
    place("wait", "pdb/release-podinfo", "--for=jsonpath={.status.disruptionsAllowed}=1", "--timeout=30s")
    pruned = ["--prune", "-l", "app.kubernetes.io/managed-by=Helm", "--dry-run=server"]
    assert "configured" not in place("apply", "-f", str(APPS / "chart.yaml"), *pruned)
