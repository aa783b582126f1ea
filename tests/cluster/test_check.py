"""``netloom check``, ``netloom drops`` and ``netloom why --live``, of policies that are in force: real clusters, real packets."""

import json
import xml.etree.ElementTree as ET

import pytest

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def tiers(command, plain):
    """front -> api -> db, and a policy that says so; db also listens where nobody may."""
    place = command.place(plain, "tiers")
    place("create", "namespace", place.namespace)
    place.deploy("front", wait=False)
    place.deploy("api", wait=False)
    place.deploy("db", replicas=2, ports=(5432, 9090))
    for name in ("front", "api"):
        place.rolled_out(name)
    place.service("api")
    place.service("db", {"port": 5432})
    place.apply(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": "db"},
            "spec": {
                "podSelector": {"matchLabels": {"app": "db"}},
                "ingress": [
                    {"from": [{"podSelector": {"matchLabels": {"app": "api"}}}], "ports": [{"port": 5432}]}
                ],
            },
        }
    )
    yield place
    place.close()
    place("delete", "namespace", place.namespace, "--wait=false")


def check(place, tmp_path, *sentences, words=(), output="json"):
    file = tmp_path / "tiers.expect"
    lines = "\n".join(f"- {sentence}" for sentence in sentences)
    file.write_text(f"namespace: {place.namespace}\nexpectations:\n{lines}\n")
    done = place.command.netloom(
        "check", "--name", place.cluster, "-f", str(file), "-o", output, *words, check=False
    )
    return done.returncode, json.loads(done.stdout) if output == "json" else done.stdout


HOLDING = (
    "api can reach db:5432",
    "front can reach api:80",
    "everybody else cannot reach db:5432",
    "front, api cannot reach deploy/db:9090",
)


def test_expectations_hold_and_denies_take_no_timeout(tiers, tmp_path):
    code, report = check(tiers, tmp_path, *HOLDING, words=("--mutate", "--strict"))
    assert {result["status"] for result in report["results"]} == {"holds"}, report["results"]
    denied = [result for result in report["results"] if result["expected"] == "deny"]
    assert len(denied) >= 5
    assert all(result["seen"] == "dropped" and result["ms"] < 1000 for result in denied), denied
    mine = [one for one in report["mutations"] if one["source"]["namespace"] == tiers.namespace]
    assert [one["source"]["field"] for one in mine] == ["", "spec.ingress[0]"]
    assert all(one["count"] for one in mine)
    assert code == 0


def test_what_does_not_hold_and_what_could_not_fail(tiers, tmp_path):
    code, report = check(
        tiers,
        tmp_path,
        "front can reach db:5432",
        "api cannot reach db:5432",
        "front cannot reach deploy/db:7777",
        words=("--mutate",),
    )
    by_sender = {}
    for result in report["results"]:
        by_sender.setdefault(result["place"].rpartition(" ")[2], set()).add(result["status"])
    assert by_sender == {"1": {"untrue"}, "2": {"untrue"}, "3": {"could not fail"}}
    dropped = next(result for result in report["results"] if result["place"].endswith("1"))
    assert "app=api" in dropped["why"]
    assert code == 8


def test_the_report_for_a_ci(tiers, tmp_path):
    code, text = check(tiers, tmp_path, "api can reach db:5432", "front can reach db:5432", output="junit")
    (suite,) = ET.fromstring(text).findall("testsuite")
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    assert code == 8


def test_a_rule_that_nobody_would_miss_is_named(tiers, tmp_path):
    tiers.apply(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": "forgotten"},
            "spec": {
                "podSelector": {"matchLabels": {"app": "db"}},
                "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "gone"}}}]}],
            },
        }
    )
    try:
        code, report = check(tiers, tmp_path, *HOLDING, words=("--mutate", "--strict"))
    finally:
        tiers("delete", "networkpolicy", "forgotten")
    unmissed = [
        f"{one['source']['name']}: {one['source']['field']}"
        for one in report["mutations"]
        if not one["count"] and one["source"]["namespace"] == tiers.namespace
    ]
    assert unmissed == ["forgotten: ", "forgotten: spec.ingress[0]"]
    assert code == 8


def test_all_pairs_of_a_cluster_do_what_the_model_says(command, shop):
    done = command.netloom("check", "--name", shop, "-o", "json")
    report = json.loads(done.stdout)
    assert len(report["results"]) > 80
    assert {result["status"] for result in report["results"]} == {"holds"}
    assert "problems" not in report or not report["problems"]


KNOCKING = """
import contextlib, socket
while True:
    with contextlib.suppress(OSError):
        socket.create_connection((ARGUMENTS[0], 5432), timeout=0.5)
"""


def test_a_drop_is_told_with_names_while_it_happens(tiers):
    front, db = tiers.pod("front"), tiers.get("service", "db")["spec"]["clusterIP"]
    words = ("drops", "-f", "-n", tiers.namespace, "--pod", front, "-o", "json", "--name", tiers.cluster)
    following = tiers.command.start(tiers.command.netloom_path, *words)
    trying = tiers.start_python(front, KNOCKING, db)
    try:
        # what an earlier test sent may be tried again by the kernel meanwhile, and is told, too
        drop = following.fact(lambda told: told["destination"].get("port") == 5432)
        assert drop["source"]["pod"] == f"{tiers.namespace}/{front}"
        assert drop["source"]["workload"] == f"Deployment {tiers.namespace}/front"
        assert drop["destination"]["pod"].startswith(f"{tiers.namespace}/db-")
        assert drop["direction"] == "ingress"
        assert drop["policies"][0]["name"] == "db"
        assert drop["miss"]["field"] == "spec.ingress[0].from[0]"
    finally:
        following.end()
        trying.end()
    shown = tiers.command.netloom("drops", "-n", tiers.namespace, "--name", tiers.cluster).stdout
    assert f"{tiers.namespace}/{front} -> " in shown
    assert "isolated by NetworkPolicy" in shown


def test_why_holds_the_kernels_and_a_packet_against_the_model(tiers):
    def why(source):
        words = ("why", "--live", "--probe", "--name", tiers.cluster, "-n", tiers.namespace, "-o", "json")
        done = tiers.command.netloom(*words, f"deploy/{source}", "svc/db:5432", check=False)
        return done.returncode, json.loads(done.stdout)

    code, told = why("api")
    assert code == 0
    assert told["why"]["verdict"] == "DELIVERED"
    assert {one["stage"] for one in told["live"]["comparisons"]} == {"service", "policy", "route"}
    assert [one["problem"] for one in told["live"]["comparisons"] if one["problem"]] == []
    assert told["live"]["unread"] == []
    assert told["live"]["probe"]["status"] == "holds"
    code, told = why("front")
    assert code == 8
    assert told["why"]["verdict"] == "DROPPED"
    assert [one["problem"] for one in told["live"]["comparisons"] if one["problem"]] == []
    assert told["live"]["probe"]["seen"] == "dropped"


def test_why_is_asked_again_with_each_change(tiers):
    words = ("why", "--watch", "--name", tiers.cluster, "-n", tiers.namespace, "-o", "json")
    asking = tiers.command.start(tiers.command.netloom_path, *words, "deploy/front", "svc/db:5432")
    try:
        assert asking.fact()["verdict"] == "DROPPED"
        tiers("label", "deployment", "front", "unrelated=change")
        allow = [
            {"op": "replace", "path": "/spec/ingress/0/from/0/podSelector/matchLabels/app", "value": "front"}
        ]
        tiers("patch", "networkpolicy", "db", "--type=json", "-p", json.dumps(allow))
        assert asking.fact()["verdict"] == "DELIVERED"
        allow[0]["value"] = "api"
        tiers("patch", "networkpolicy", "db", "--type=json", "-p", json.dumps(allow))
        assert asking.fact()["verdict"] == "DROPPED"
    finally:
        asking.end()
