"""The loops together, against the real API server."""

from __future__ import annotations

from collections import Counter
from typing import Any

from netloom.errors import NotFound
from netloom.kube.resources import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    ENDPOINTS,
    EVENTS,
    IP_POOLS,
    NAMESPACES,
    NODES,
    PODS,
    REPLICA_SETS,
    SERVICE_ACCOUNTS,
    SERVICES,
)
from netloom.units import ObjectKey


def template(image: str = "example.org/web:1", app: str = "web") -> dict[str, Any]:
    return {
        "metadata": {"labels": {"app": app}},
        "spec": {
            "containers": [
                {"name": "main", "image": image, "ports": [{"containerPort": 8080, "name": "http"}]}
            ]
        },
    }


def web(replicas: int = 3, **spec: object) -> dict[str, Any]:
    return {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template(), **spec}


def is_rolled_out(d: dict[str, Any]) -> bool:
    """What `kubectl rollout status` asks."""
    status, wish = d.get("status", {}), d["spec"]["replicas"]
    return (
        status.get("observedGeneration", 0) >= d["metadata"]["generation"]
        and status.get("updatedReplicas", 0) == wish
        and status.get("replicas", 0) == wish
        and status.get("availableReplicas", 0) == wish
    )


async def rolled_out(cluster, name: str = "web") -> dict[str, Any]:
    async def done():
        d = await cluster.get(DEPLOYMENTS, name)
        return d if is_rolled_out(d) else None

    return await cluster.until(done)


async def live_pods(cluster) -> list[dict[str, Any]]:
    return [p for p in await cluster.list(PODS) if "deletionTimestamp" not in p["metadata"]]


async def test_a_deployment_becomes_pods_that_are_spread_and_ready(cluster):
    await cluster.create(DEPLOYMENTS, "web", spec=web(6))
    d = await rolled_out(cluster)
    await cluster.settled()
    pods = await cluster.list(PODS)
    assert len(pods) == 6
    assert set(Counter(p["spec"]["nodeName"] for p in pods).values()) == {2}
    (rs,) = await cluster.list(REPLICA_SETS)
    hash_ = rs["metadata"]["labels"]["pod-template-hash"]
    assert rs["metadata"]["name"] == f"web-{hash_}"
    assert rs["spec"]["selector"]["matchLabels"] == {"app": "web", "pod-template-hash": hash_}
    assert all(p["metadata"]["labels"]["pod-template-hash"] == hash_ for p in pods)
    assert all(p["metadata"]["ownerReferences"][0]["uid"] == rs["metadata"]["uid"] for p in pods)
    assert rs["metadata"]["ownerReferences"][0]["controller"] is True
    assert rs["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "1"
    assert d["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "1"
    conditions = {c["type"]: (c["status"], c["reason"]) for c in d["status"]["conditions"]}
    assert conditions == {
        "Available": ("True", "MinimumReplicasAvailable"),
        "Progressing": ("True", "NewReplicaSetAvailable"),
    }


async def test_an_update_rolls_and_undo_brings_the_old_set_back(cluster):
    await cluster.create(DEPLOYMENTS, "web", spec=web())
    await rolled_out(cluster)
    (first,) = await cluster.list(REPLICA_SETS)
    await cluster.patch(DEPLOYMENTS, "web", {"spec": {"template": template("example.org/web:2")}})
    await rolled_out(cluster)
    by_revision = {
        s["metadata"]["annotations"]["deployment.kubernetes.io/revision"]: s
        for s in await cluster.list(REPLICA_SETS)
    }
    assert by_revision["1"]["metadata"]["uid"] == first["metadata"]["uid"]
    assert {r: s["spec"]["replicas"] for r, s in by_revision.items()} == {"1": 0, "2": 3}
    # What `kubectl rollout undo` sends: the old set's template without its hash.
    old = by_revision["1"]["spec"]["template"]
    del old["metadata"]["labels"]["pod-template-hash"]
    body = [{"op": "replace", "path": "/spec/template", "value": old}]
    await cluster.patch(DEPLOYMENTS, "web", body, content_type="application/json-patch+json")
    await rolled_out(cluster)
    await cluster.settled()
    revisions = {
        s["metadata"]["annotations"]["deployment.kubernetes.io/revision"]: s["spec"]["replicas"]
        for s in await cluster.list(REPLICA_SETS)
    }
    assert revisions == {"2": 0, "3": 3}
    assert (await cluster.get(DEPLOYMENTS, "web"))["metadata"]["annotations"][
        "deployment.kubernetes.io/revision"
    ] == "3"


async def test_a_rolling_update_that_cannot_become_ready_stops_and_keeps_the_old_pods(cluster):
    await cluster.create(DEPLOYMENTS, "web", spec=web(4, progressDeadlineSeconds=600))
    await rolled_out(cluster)
    cluster.nodes.unready.add("web-")
    await cluster.patch(DEPLOYMENTS, "web", {"spec": {"template": template("example.org/web:broken")}})

    async def stuck():
        sizes = sorted(s["spec"]["replicas"] for s in await cluster.list(REPLICA_SETS))
        return sizes == [2, 3]

    await cluster.until(stuck)
    await cluster.settled()
    ready = [
        p
        for p in await live_pods(cluster)
        if any(c["type"] == "Ready" and c["status"] == "True" for c in p["status"]["conditions"])
    ]
    assert len(ready) == 3
    cluster.nodes.unready.clear()
    cluster.nodes.look()
    await rolled_out(cluster)


async def test_recreate_waits_for_the_last_old_pod(cluster):
    await cluster.create(DEPLOYMENTS, "web", spec=web(2, strategy={"type": "Recreate"}))
    await rolled_out(cluster)
    cluster.nodes.holding.add("web-")
    await cluster.patch(DEPLOYMENTS, "web", {"spec": {"template": template("example.org/web:2")}})

    async def all_ending():
        pods = await cluster.list(PODS)
        return len(pods) == 2 and all("deletionTimestamp" in p["metadata"] for p in pods)

    await cluster.until(all_ending)
    await cluster.settled()
    assert len(await cluster.list(REPLICA_SETS)) == 1
    cluster.nodes.holding.clear()
    cluster.nodes.look()
    await rolled_out(cluster)
    assert len(await cluster.list(REPLICA_SETS)) == 2


async def test_pause_scale_resume(cluster):
    await cluster.create(DEPLOYMENTS, "web", spec=web(2))
    await rolled_out(cluster)
    await cluster.patch(
        DEPLOYMENTS,
        "web",
        {"spec": {"paused": True, "replicas": 5, "template": template("example.org/web:2")}},
    )

    async def scaled():
        d = await cluster.get(DEPLOYMENTS, "web")
        return (
            d["status"].get("availableReplicas") == 5
            and d["status"]["observedGeneration"] == d["metadata"]["generation"]
        )

    await cluster.until(scaled)
    await cluster.settled()
    assert len(await cluster.list(REPLICA_SETS)) == 1
    d = await cluster.get(DEPLOYMENTS, "web")
    assert (
        next(c for c in d["status"]["conditions"] if c["type"] == "Progressing")["reason"]
        == "DeploymentPaused"
    )
    await cluster.patch(DEPLOYMENTS, "web", {"spec": {"paused": False}})
    await rolled_out(cluster)
    assert len(await cluster.list(REPLICA_SETS)) == 2


async def test_history_is_limited(cluster):
    await cluster.create(DEPLOYMENTS, "web", spec=web(1, revisionHistoryLimit=1))
    for i in range(4):
        await cluster.patch(DEPLOYMENTS, "web", {"spec": {"template": template(f"example.org/web:{i}")}})
        await rolled_out(cluster)

    async def two_left():
        return len(await cluster.list(REPLICA_SETS)) == 2

    await cluster.until(two_left)


async def test_no_pod_is_made_twice_and_a_lost_one_is_replaced(cluster):
    await cluster.create(DEPLOYMENTS, "web", spec=web(40))
    await rolled_out(cluster)
    await cluster.settled()
    pods = await cluster.list(PODS)
    assert len(pods) == 40
    await cluster.delete(PODS, pods[0]["metadata"]["name"])

    async def replaced():
        names = {p["metadata"]["name"] for p in await cluster.list(PODS)}
        return len(names) == 40 and pods[0]["metadata"]["name"] not in names

    await cluster.until(replaced)
    await rolled_out(cluster)
    await cluster.settled()
    created = [e for e in await cluster.list(EVENTS) if e["reason"] == "SuccessfulCreate"]
    assert len(created) <= 41


async def test_scaling_down_deletes_the_pods_that_are_not_ready_first(cluster):
    await cluster.create(DEPLOYMENTS, "web", spec=web(3))
    await rolled_out(cluster)
    victim = (await cluster.list(PODS))[1]["metadata"]["name"]
    cluster.nodes.unready.add(victim)
    cluster.nodes.look()

    async def one_sick():
        return (await cluster.get(DEPLOYMENTS, "web"))["status"].get("availableReplicas") == 2

    await cluster.until(one_sick)
    await cluster.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 2}})
    await rolled_out(cluster)
    assert victim not in {p["metadata"]["name"] for p in await live_pods(cluster)}


async def test_a_replica_set_adopts_and_lets_go(cluster):
    spec = {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template()}
    await cluster.create(PODS, "orphan", metadata={"labels": {"app": "web"}}, spec=template()["spec"])
    await cluster.create(REPLICA_SETS, "solo", spec=spec)

    async def full():
        return (await cluster.get(REPLICA_SETS, "solo"))["status"].get("availableReplicas") == 2

    await cluster.until(full)
    pods = await cluster.list(PODS)
    assert len(pods) == 2
    assert all(p["metadata"]["ownerReferences"][0]["name"] == "solo" for p in pods)
    await cluster.patch(PODS, "orphan", {"metadata": {"labels": {"app": "other"}}})

    async def released():
        pods = await cluster.list(PODS)
        return len(pods) == 3 and not (await cluster.get(PODS, "orphan"))["metadata"].get("ownerReferences")

    await cluster.until(released)


async def conditions_of(cluster, resource, name: str) -> dict[str, dict[str, Any]]:
    status = (await cluster.get(resource, name)).get("status", {})
    return {c["type"]: c for c in status.get("conditions") or []}


async def test_pods_that_are_refused_show_in_the_status_until_they_are_not(cluster):
    cluster.client.refused = frozenset((PODS,))
    await cluster.create(DEPLOYMENTS, "web", spec=web(3))

    async def told():
        return (await conditions_of(cluster, DEPLOYMENTS, "web")).get("ReplicaFailure")

    condition = await cluster.until(told)
    assert (condition["status"], condition["reason"]) == ("True", "FailedCreate")
    assert "exceeded quota" in condition["message"]
    cluster.client.refused = frozenset()
    await rolled_out(cluster)
    await cluster.settled()
    assert "ReplicaFailure" not in await conditions_of(cluster, DEPLOYMENTS, "web")
    assert len(await cluster.list(PODS)) == 3


async def test_a_replica_set_that_is_refused_shows_in_the_status(cluster):
    cluster.client.refused = frozenset((REPLICA_SETS,))
    await cluster.create(DEPLOYMENTS, "web", spec=web(1))

    async def told():
        return (await conditions_of(cluster, DEPLOYMENTS, "web")).get("Progressing")

    condition = await cluster.until(told)
    assert (condition["status"], condition["reason"]) == ("False", "ReplicaSetCreateError")
    cluster.client.refused = frozenset()
    await rolled_out(cluster)


async def slices_of(cluster, name: str) -> list[dict[str, Any]]:
    return await cluster.list(ENDPOINT_SLICES, label_selector=f"kubernetes.io/service-name={name}")


async def endpoints_of(cluster, name: str) -> list[dict[str, Any]]:
    return [e for s in await slices_of(cluster, name) for e in s.get("endpoints") or []]


SERVICE = {"selector": {"app": "web"}, "ports": [{"name": "web", "port": 80, "targetPort": "http"}]}


async def test_a_service_gets_slices_and_endpoints_that_follow_its_pods(cluster):
    await cluster.create(SERVICES, "web", spec=SERVICE, metadata={"labels": {"team": "a"}})

    async def placeholder():
        return await slices_of(cluster, "web")

    (empty,) = await cluster.until(placeholder)
    assert not empty.get("endpoints")
    await cluster.create(DEPLOYMENTS, "web", spec=web(3))

    async def three_ready():
        found = await endpoints_of(cluster, "web")
        return len(found) == 3 and all(e["conditions"]["ready"] for e in found)

    await cluster.until(three_ready)
    await cluster.settled()
    (slice_,) = await slices_of(cluster, "web")
    assert slice_["metadata"]["name"] == empty["metadata"]["name"]
    assert slice_["metadata"]["labels"] == {
        "team": "a",
        "kubernetes.io/service-name": "web",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    }
    assert slice_["ports"] == [{"name": "web", "port": 8080, "protocol": "TCP"}]
    assert slice_["addressType"] == "IPv4"
    pods = {p["metadata"]["uid"]: p for p in await cluster.list(PODS)}
    for e in slice_["endpoints"]:
        assert e["targetRef"]["kind"] == "Pod"
        assert e["addresses"] == [pods[e["targetRef"]["uid"]]["status"]["podIP"]]
        assert e["nodeName"] == pods[e["targetRef"]["uid"]]["spec"]["nodeName"]
        assert e["conditions"] == {"ready": True, "serving": True, "terminating": False}
    legacy = await cluster.get(ENDPOINTS, "web")
    assert sorted(a["ip"] for a in legacy["subsets"][0]["addresses"]) == sorted(
        p["status"]["podIP"] for p in pods.values()
    )
    version = slice_["metadata"]["resourceVersion"]
    await cluster.patch(SERVICES, "web", {"metadata": {"annotations": {"note": "no endpoint changes"}}})
    await cluster.settled()
    assert (await slices_of(cluster, "web"))[0]["metadata"]["resourceVersion"] == version

    cluster.nodes.holding.add("web-")
    gone = next(iter(pods.values()))
    await cluster.delete(PODS, gone["metadata"]["name"])

    async def terminating():
        found = await endpoints_of(cluster, "web")
        return next((e for e in found if e["conditions"]["terminating"]), None)

    ending = await cluster.until(terminating)
    assert ending["conditions"] == {"ready": False, "serving": True, "terminating": True}
    cluster.nodes.holding.clear()
    cluster.nodes.look()
    await cluster.until(three_ready)
    await cluster.delete(SERVICES, "web")

    async def nothing():
        return not await slices_of(cluster, "web") and not await cluster.list(ENDPOINTS)

    await cluster.until(nothing)


async def test_a_headless_service_is_labelled_and_named(cluster):
    await cluster.create(SERVICES, "web", spec={"clusterIP": "None", "selector": {"app": "web"}})
    spec = template()["spec"] | {"hostname": "one", "subdomain": "web"}
    await cluster.create(PODS, "one", metadata={"labels": {"app": "web"}}, spec=spec)

    async def named():
        found = await endpoints_of(cluster, "web")
        return found and found[0].get("hostname") == "one"

    await cluster.until(named)
    await cluster.settled()
    (slice_,) = await slices_of(cluster, "web")
    assert slice_["metadata"]["labels"]["service.kubernetes.io/headless"] == ""
    version = slice_["metadata"]["resourceVersion"]
    await cluster.patch(PODS, "one", {"metadata": {"annotations": {"a": "b"}}})
    await cluster.settled()
    assert (await slices_of(cluster, "web"))[0]["metadata"]["resourceVersion"] == version


async def test_hints_follow_the_field_the_annotation_and_the_nodes(cluster):
    await cluster.create(DEPLOYMENTS, "web", spec=web(6))
    await cluster.create(
        SERVICES,
        "web",
        spec={"selector": {"app": "web"}, "ports": [{"port": 80}], "trafficDistribution": "PreferSameNode"},
    )

    async def hints():
        found = {}
        for e in await endpoints_of(cluster, "web"):
            found.setdefault(e["nodeName"], []).append(e.get("hints"))
        return found

    def holds(wanted):
        async def condition():
            return (
                all(h == wanted(n) for n, several in (await hints()).items() for h in several)
                and len(await endpoints_of(cluster, "web")) == 6
            )

        return condition

    await cluster.until(holds(lambda n: {"forNodes": [{"name": n}]}))
    zones = {"node-1": "east", "node-2": "west", "node-3": "west"}
    for name, zone in zones.items():
        await cluster.patch(NODES, name, {"metadata": {"labels": {"topology.kubernetes.io/zone": zone}}})
    await cluster.until(holds(lambda n: {"forZones": [{"name": zones[n]}], "forNodes": [{"name": n}]}))
    await cluster.patch(SERVICES, "web", {"spec": {"trafficDistribution": "PreferClose"}})
    await cluster.until(holds(lambda n: {"forZones": [{"name": zones[n]}]}))
    auto = {"metadata": {"annotations": {"service.kubernetes.io/topology-mode": "Auto"}}}
    await cluster.patch(SERVICES, "web", auto)
    # hollow nodes say nothing of their CPU, so nobody can know what a zone can bear
    await cluster.until(holds(lambda n: None))
    for name in zones:
        await cluster.patch(NODES, name, {"status": {"allocatable": {"cpu": "4"}}}, subresource="status")

    async def is_proportional():
        found = [h["forZones"][0]["name"] for several in (await hints()).values() for h in several if h]
        return sorted(found) == ["east"] * 2 + ["west"] * 4

    await cluster.until(is_proportional)


async def test_120_endpoints_make_two_slices(cluster):
    await cluster.create(SERVICES, "web", spec=SERVICE)
    await cluster.create(DEPLOYMENTS, "web", spec=web(120))
    await rolled_out(cluster)

    async def all_there():
        return len(await endpoints_of(cluster, "web")) == 120

    await cluster.until(all_there)
    await cluster.settled()
    assert sorted(len(s["endpoints"]) for s in await slices_of(cluster, "web")) == [20, 100]


async def test_slices_of_others_are_left_alone(cluster):
    await cluster.create(SERVICES, "web", spec={"ports": [{"port": 80}]})
    await cluster.create(
        ENDPOINT_SLICES,
        "web-by-hand",
        metadata={"labels": {"kubernetes.io/service-name": "web"}},
        addressType="IPv4",
        endpoints=[{"addresses": ["192.0.2.1"]}],
        ports=[{"port": 80}],
    )
    await cluster.patch(SERVICES, "web", {"metadata": {"labels": {"a": "b"}}})
    await cluster.settled()
    assert [s["metadata"]["name"] for s in await slices_of(cluster, "web")] == ["web-by-hand"]


async def test_nodes_get_ranges_that_survive_a_restart(bare):
    async def all_have():
        nodes = await bare.list(NODES)
        return all(n.get("spec", {}).get("podCIDR") for n in nodes) and nodes

    async with bare.running():
        before = {n["metadata"]["name"]: n["spec"]["podCIDRs"] for n in await bare.until(all_have)}
        assert sorted(before.values()) == [["10.244.0.0/24"], ["10.244.1.0/24"], ["10.244.2.0/24"]]
        await bare.delete(NODES, "node-2")
        await bare.settled()
    async with bare.running():
        await bare.create(NODES, "node-4")
        await bare.create(NODES, "node-5")
        after = {n["metadata"]["name"]: n["spec"]["podCIDRs"] for n in await bare.until(all_have)}
    assert {n: after[n] for n in ("node-1", "node-3")} == {n: before[n] for n in ("node-1", "node-3")}
    assert len({c for cs in after.values() for c in cs}) == 4
    assert before["node-2"] in after.values()


async def test_a_full_range_is_told_and_served_when_a_node_goes(bare):
    async with bare.running(("10.244.0.0/23",)):

        async def told():
            return [e for e in await bare.list(EVENTS, "default") if e["reason"] == "CIDRNotAvailable"]

        async def waiting():
            return [
                n["metadata"]["name"] for n in await bare.list(NODES) if not n.get("spec", {}).get("podCIDR")
            ]

        (poor,) = await bare.until(lambda: exactly(waiting, 1))
        recorder = bare.loops._recorders["node-ipam"]
        await recorder.flush()
        (event,) = await told()
        assert event["involvedObject"]["name"] == poor
        assert "10.244.0.0/23" in event["message"]
        rich = next(n for n in ("node-1", "node-2", "node-3") if n != poor)
        await bare.delete(NODES, rich)

        async def served():
            return (await bare.get(NODES, poor)).get("spec", {}).get("podCIDR")

        assert await bare.until(served)


async def exactly(ask, count: int):
    found = await ask()
    return found if len(found) == count else None


async def test_a_pod_that_fits_nowhere_says_why_and_is_placed_when_it_fits(cluster):
    await cluster.create(PODS, "picky", spec=template()["spec"] | {"nodeSelector": {"disk": "ssd"}})

    async def told():
        conditions = (await cluster.get(PODS, "picky"))["status"].get("conditions") or []
        return next((c for c in conditions if c["type"] == "PodScheduled"), None)

    condition = await cluster.until(told)
    assert (condition["status"], condition["reason"]) == ("False", "Unschedulable")
    assert condition["message"] == (
        "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector. "
        "preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
    )
    await cluster.patch(NODES, "node-2", {"metadata": {"labels": {"disk": "ssd"}}})

    async def placed():
        return (await cluster.get(PODS, "picky"))["spec"].get("nodeName") == "node-2"

    await cluster.until(placed)
    assert (await told())["status"] == "True"


async def test_pods_wait_for_a_node_to_be_ready(cluster):
    for name in cluster.nodes.names:
        await cluster.nodes.set_ready(name, ready=False)
    await cluster.create(DEPLOYMENTS, "web", spec=web(3))

    async def three():
        return len(await cluster.list(PODS)) == 3

    await cluster.until(three)
    await cluster.settled()
    assert not any(p["spec"].get("nodeName") for p in await cluster.list(PODS))
    await cluster.nodes.set_ready("node-3", ready=True)
    await rolled_out(cluster)
    assert {p["spec"]["nodeName"] for p in await cluster.list(PODS)} == {"node-3"}


async def test_a_new_namespace_is_furnished(cluster):
    async def furnished():
        accounts = {a["metadata"]["name"] for a in await cluster.list(SERVICE_ACCOUNTS)}
        maps = {m["metadata"]["name"]: m.get("data") for m in await cluster.list(CONFIG_MAPS)}
        return accounts == {"default"} and maps == {"kube-root-ca.crt": {"ca.crt": "CA"}}

    await cluster.settled()
    await cluster.until(furnished)


async def test_a_deleted_namespace_empties_and_goes(cluster):
    await cluster.create(DEPLOYMENTS, "web", spec=web(3))
    await cluster.create(SERVICES, "web", spec=SERVICE)
    await rolled_out(cluster)
    await cluster.delete(NAMESPACES, "shop")

    async def gone():
        try:
            await cluster.get(NAMESPACES, "shop")
        except NotFound:
            return True
        return False

    await cluster.until(gone)
    for resource in (
        PODS,
        REPLICA_SETS,
        DEPLOYMENTS,
        SERVICES,
        ENDPOINT_SLICES,
        ENDPOINTS,
        CONFIG_MAPS,
        EVENTS,
    ):
        assert await cluster.list(resource) == [], resource.plural


async def test_a_finalizer_keeps_the_namespace_and_is_named(cluster):
    await cluster.create(CONFIG_MAPS, "held", metadata={"finalizers": ["example.org/mine"]}, data={})
    await cluster.delete(NAMESPACES, "shop")

    async def told():
        conditions = (await cluster.get(NAMESPACES, "shop"))["status"].get("conditions") or []
        return {c["type"]: c["message"] for c in conditions}

    messages = await cluster.until(told)
    assert "configmaps has 1 resource instances" in messages["NamespaceContentRemaining"]
    assert "example.org/mine in 1 resource instances" in messages["NamespaceFinalizersRemaining"]
    await cluster.patch(CONFIG_MAPS, "held", {"metadata": {"finalizers": []}})

    async def gone():
        return not any(n["metadata"]["name"] == "shop" for n in await cluster.list(NAMESPACES))

    await cluster.until(gone)


async def test_a_restart_in_the_middle_loses_nothing(bare):
    async with bare.running():
        await bare.create(SERVICES, "web", spec=SERVICE)
        await bare.create(DEPLOYMENTS, "web", spec=web(12))

        async def some():
            return len(await bare.list(PODS)) >= 3

        await bare.until(some)
    async with bare.running():
        await rolled_out(bare)

        async def all_there():
            return len(await endpoints_of(bare, "web")) == 12

        await bare.until(all_there)
        await bare.settled()
    assert len(await bare.list(PODS)) == 12


async def test_five_services_with_five_pods_each_settle(cluster):
    for i in range(5):
        spec = web(5)
        spec["selector"] = {"matchLabels": {"app": f"a{i}"}}
        spec["template"] = template(app=f"a{i}")
        await cluster.create(
            SERVICES,
            f"a{i}",
            spec={"selector": {"app": f"a{i}"}, "ports": [{"port": 80, "targetPort": "http"}]},
        )
        await cluster.create(DEPLOYMENTS, f"a{i}", spec=spec)
    for i in range(5):
        await rolled_out(cluster, f"a{i}")
    await cluster.settled()
    slices, _ = await cluster.client.list(ENDPOINT_SLICES)
    ready = [e for s in slices for e in s["endpoints"] if e["conditions"]["ready"]]
    assert len({e["addresses"][0] for e in ready}) == 25


async def test_objects_of_other_namespaces_do_not_mix(cluster):
    await cluster.create(NAMESPACES, "other")
    await cluster.create(SERVICES, "web", spec=SERVICE)
    await cluster.client.create(
        PODS,
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "p", "namespace": "other", "labels": {"app": "web"}},
            "spec": template()["spec"],
        },
    )

    async def running():
        return (await cluster.client.get(PODS, ObjectKey("other", "p")))["status"].get("podIP")

    await cluster.until(running)
    await cluster.settled()
    assert await endpoints_of(cluster, "web") == []


async def test_a_node_is_given_nothing_that_a_pool_has(bare):
    await bare.create(IP_POOLS, "low", spec={"cidrs": ["10.244.0.0/23", "10.244.3.0/25"]})
    async with bare.running():

        async def given():
            nodes = await bare.list(NODES)
            return all(n.get("spec", {}).get("podCIDR") for n in nodes) and {
                n["spec"]["podCIDR"] for n in nodes
            }

        found = await bare.until(given)
    assert found == {"10.244.2.0/24", "10.244.4.0/24", "10.244.5.0/24"}
