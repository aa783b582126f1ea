"""Policies that speak of domain names, and names explained: real packets, the command, an upstream server of the test's."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.cluster

GATEWAY = "172.30.0.1"
"""Outside of the cluster, as far as pods can tell; the API server answers there."""
KNOCK = """
try:
    socket.create_connection((ARGUMENTS[0], 6443), timeout=float(ARGUMENTS[1])).close()
    tell("in")
except TimeoutError:
    tell("blocked")
except OSError as error:
    tell(str(error))
"""


@pytest.fixture(scope="module")
def outside(upstream):
    """Names of each test's own: what a node's pods were told is known there for a while, to every policy that means the name."""
    for name in ("api.names.example", "api.first.example", "other.second.example"):
        upstream.answers[(f"{name}.", "A")] = [f"{name}. 5 A {GATEWAY}"]
    upstream.answers[("alias.second.example.", "A")] = [
        "alias.second.example. 5 CNAME real.elsewhere.example.",
        f"real.elsewhere.example. 5 A {GATEWAY}",
    ]
    return upstream


@pytest.fixture
def client(place, outside):
    place.deploy("client")
    return place.pod("client")


def only_names(place, *names):
    """Pods of the namespace get out to cluster DNS and to these names, and nowhere else."""
    ours = {"matchLabels": {"kubernetes.io/metadata.name": place.namespace}}
    dns = {"namespaces": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}
    place.apply(
        {
            "apiVersion": "policy.networking.k8s.io/v1alpha2",
            "kind": "ClusterNetworkPolicy",
            "metadata": {"name": place.namespace},
            "spec": {
                "tier": "Admin",
                "priority": 10,
                "subject": {"namespaces": ours},
                "egress": [
                    {"name": "dns", "action": "Accept", "to": [dns]},
                    {"name": "names", "action": "Accept", "to": [{"domainNames": list(names)}]},
                    {"name": "rest", "action": "Deny", "to": [{"networks": ["0.0.0.0/0"]}]},
                ],
            },
        }
    )
    place.command.netloom(
        "wait", f"pod/{place.pod('client')}", "-n", place.namespace, "--name", place.cluster
    )


def knock(place, client, name, timeout=5):
    return place.python(client, KNOCK, name, timeout)


def test_the_first_packet_to_a_name_passes_and_to_its_bare_address_did_not(place, client):
    assert knock(place, client, GATEWAY) == "in"
    only_names(place, "*.first.example")
    try:
        assert knock(place, client, GATEWAY, 1) == "blocked"
        assert knock(place, client, "api.first.example") == "in"
        assert knock(place, client, GATEWAY) == "in", "the name has this address"
    finally:
        place("delete", "clusternetworkpolicy", place.namespace)


def test_a_name_that_no_policy_means_stays_out_and_an_alias_of_one_that_it_means_gets_in(place, client):
    only_names(place, "alias.second.example")
    try:
        assert knock(place, client, "other.second.example", 1) == "blocked"
        assert knock(place, client, "alias.second.example") == "in"
    finally:
        place("delete", "clusternetworkpolicy", place.namespace)


@pytest.fixture(scope="module")
def fixed(command, tmp_path_factory):
    """A place in a cluster whose agent may be killed, and whose configuration itself has a name."""
    corefile = tmp_path_factory.mktemp("dns") / "Corefile"
    corefile.write_text(f". {{\n hosts {{\n  {GATEWAY} printer.names.example\n }}\n}}\n")
    command.down("fixed")
    command.up("fixed", "--nodes", "1", "--corefile", str(corefile))
    place = command.place("fixed", "default")
    place.deploy("client")
    yield place
    place.close()
    command.down("fixed")


def test_what_a_pod_was_told_outlives_the_agent(fixed, kill):
    client = fixed.pod("client")
    only_names(fixed, "printer.names.example")
    assert knock(fixed, client, "printer.names.example") == "in"
    kill(fixed.cluster, "nl-node-1-agent")
    assert knock(fixed, client, GATEWAY) == "in"
    fixed.command.netloom("wait", f"pod/{client}", "--name", fixed.cluster)
    assert knock(fixed, client, GATEWAY) == "in"
    fixed("delete", "clusternetworkpolicy", fixed.namespace)


def query(place, client, name, *words):
    done = place.command.netloom(
        "dns",
        "query",
        f"{place.namespace}/{client}",
        name,
        *words,
        "--name",
        place.cluster,
        "-o",
        "json",
        check=False,
    )
    return done.returncode, json.loads(done.stdout)


def test_each_expansion_of_a_name_and_where_its_answer_comes_from(place, client):
    address = place.service("explained")["clusterIP"]
    code, told = query(place, client, "explained")
    assert code == 0
    assert told["pod"] == f"{place.namespace}/{client}"
    (one,) = told["expansions"]
    assert one["origin"] == "the cluster's names"
    assert one["records"] == [f"explained.{place.namespace}.svc.cluster.local 5 A {address}"]
    code, told = query(place, client, "api.names.example.")
    (one,) = told["expansions"]
    assert (code, one["server"]) == (0, f"{GATEWAY}:53")
    code, told = query(place, client, "nowhere")
    assert code == 8
    assert [one["name"] for one in told["expansions"]] == [
        f"nowhere.{place.namespace}.svc.cluster.local",
        "nowhere.svc.cluster.local",
        "nowhere.cluster.local",
        "nowhere",
    ]


def test_queries_are_counted_by_name(place, client):
    place.service("counted")
    place.python(client, "for _ in range(5):\n    socket.gethostbyname('counted')\ntell(0)")
    done = place.command.netloom("dns", "stats", "--name", place.cluster, "-o", "json")
    names = {n["name"]: n for node in json.loads(done.stdout) for n in node["counts"]["names"]}
    found = names[f"counted.{place.namespace}.svc.cluster.local"]
    assert found["queries"] >= 5
    assert found.get("failures", 0) == 0
