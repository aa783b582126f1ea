"""A running cluster, read once: what is not served, not allowed or not understood is told, and everything else counts."""

import pytest

from netloom.errors import NetloomError, NotFound, Unavailable
from netloom.kube.status import Denied
from netloom.observe.estate.cluster import load_estate
from netloom.observe.estate.kinds import KINDS
from netloom.observe.plan_text import render_plan
from netloom.testing.plan_words import live, planned, said
from netloom.units import ObjectKey


class Server:
    """Answers lists; an error in place of a list is raised."""

    def __init__(self, **lists):
        self.lists = lists
        self.asked = []

    async def list(self, resource, namespace=""):
        self.asked.append(resource.kind)
        found = self.lists.get(resource.kind, NotFound(f"{resource.plural}: not served"))
        if isinstance(found, NetloomError):
            raise found
        return found, "1"


def pod(name, **labels):
    return {"metadata": {"name": name, "namespace": "shop", "labels": labels}, "spec": {"nodeName": None}}


async def test_every_kind_is_listed_and_what_is_not_served_is_not_there():
    server = Server(Pod=[pod("a")], Namespace=[{"metadata": {"name": "shop"}}])
    loaded = await load_estate(server)
    assert server.asked == [kind.name for kind in KINDS]
    assert set(loaded.estate.objects) == {"Pod", "Namespace"}
    assert loaded.estate.is_live
    assert loaded.notes == ()


async def test_one_object_that_cannot_be_read_leaves_the_others():
    loaded = await load_estate(Server(Pod=[pod("a"), pod("b", wrong=7)]))
    assert set(loaded.estate.objects["Pod"]) == {ObjectKey("shop", "a")}
    assert "a Pod of the cluster is left out of account" in loaded.notes[0]


async def test_workloads_that_may_not_be_read_are_told_pods_are_needed():
    loaded = await load_estate(Server(Pod=[], Deployment=Denied("deployments: forbidden")))
    assert loaded.notes == (
        "Deployment: cannot be read, so it is left out of account: deployments: forbidden",
    )
    with pytest.raises(Denied):
        await load_estate(Server(Pod=Denied("pods: forbidden")))
    with pytest.raises(Unavailable):
        await load_estate(Server(Pod=[], Deployment=Unavailable("the API server is away")))


JOBS = """
kind: CronJob
metadata: {name: report}
spec: {jobTemplate: {spec: {template: {metadata: {labels: {app: api}}}}}}
---
kind: Job
metadata: {name: report-28, ownerReferences: [{kind: CronJob, name: report, controller: true}]}
spec: {template: {metadata: {labels: {app: api}}}}
---
kind: Job
metadata: {name: once}
spec: {template: {metadata: {labels: {app: api}}}}
---
kind: Pod
metadata: {name: db, labels: {app: db}}
---
kind: NetworkPolicy
metadata: {name: deny}
spec: {podSelector: {matchLabels: {app: db}}}
---
"""
ALLOW = """
kind: NetworkPolicy
metadata: {name: allow}
spec: {podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: api}}}]}]}
"""


def test_a_job_that_has_run_reaches_nobody_and_one_that_is_made_again_and_again_counts():
    assert said(planned(live(JOBS), ALLOW)) == ["gained: shop/report -> shop/db: all traffic"]
    running = """
kind: Pod
metadata: {name: report-28-x, labels: {app: api, job-name: report-28}, ownerReferences: [{kind: Job, name: report-28, controller: true}]}
"""
    assert said(planned(live(JOBS, running), ALLOW)) == ["gained: shop/report -> shop/db: all traffic"]
    again = JOBS.split("---")[2].replace("once", "twice")
    assert any("shop/twice ->" in text for text in said(planned(live(JOBS), again)))


def test_two_workloads_with_one_name_are_told_apart_by_their_kinds():
    twins = "kind: {0}\nmetadata: {{name: db}}\nspec: {{template: {{metadata: {{labels: {{app: db, of: {0}}}}}}}}}\n---\n"
    deny = (
        "kind: NetworkPolicy\nmetadata: {name: deny}\nspec: {podSelector: {matchLabels: {of: StatefulSet}}}"
    )
    both = twins.format("Deployment") + twins.format("StatefulSet")
    found = said(planned(live(both), deny))
    assert found == ["lost: everybody -> StatefulSet shop/db: all traffic"]


def test_long_plans_are_cut_for_people_only():
    names = [f"w-{n}" for n in range(70)]
    pods = "".join(f"kind: Pod\nmetadata: {{name: {n}, labels: {{app: {n}}}}}\n---\n" for n in names)
    rules = "".join(
        f"kind: NetworkPolicy\nmetadata: {{name: {n}}}\n"
        f"spec: {{podSelector: {{matchLabels: {{app: {n}}}}}, ingress: [{{ports: [{{port: {1000 + i}}}]}}]}}\n---\n"
        for i, n in enumerate(names)
    )
    report = planned(live(pods), rules)
    assert len(report.lost) == 70
    text = render_plan(report)
    assert "and 10 more rows" in text
    assert "and 40 more" in text
    assert "more rows" not in render_plan(report, everything=True)
