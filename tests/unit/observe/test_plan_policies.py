"""What a change of policies, labels and workloads does to who reaches whom."""

import pytest

from netloom.errors import NotFound
from netloom.testing.plan_words import SHOP, estate, live, planned, said

DENY = """
kind: NetworkPolicy
metadata: {name: deny}
spec: {podSelector: {}, policyTypes: [Ingress]}
"""
DB = """
kind: NetworkPolicy
metadata: {name: db}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress: [{from: [{podSelector: {matchLabels: {app: api}}}], ports: [{port: 5432}]}]
"""


def test_a_policy_loses_everything_but_what_it_allows_and_taking_it_away_gains_it_back():
    lost = [
        "all pods but shop/api, nodes, internet -> shop/db: all traffic",
        "shop/api -> shop/db: all traffic but 5432/tcp",
    ]
    report = planned(estate(SHOP), DB)
    assert said(report) == sorted(f"lost: {text}" for text in lost)
    assert (report.has_lost, report.has_gained) == (True, False)
    back = planned(estate(SHOP, DB), delete=["NetworkPolicy shop/db"])
    assert said(back) == sorted(f"gained: {text}" for text in lost)


def test_each_row_says_what_let_it_pass_and_what_stops_it():
    rows = {(row.sender, row.ports): row for row in planned(estate(SHOP), DB).lost}
    row = rows["shop/api", "all traffic but 5432/tcp"]
    assert [reason.text for reason in row.before] == [
        "nothing restricts egress of shop/api",
        "nothing restricts ingress of shop/db",
    ]
    (after,) = row.after
    assert after.text.startswith("NetworkPolicy shop/db limits ingress of shop/db: shop/db ingress[0] allows")
    assert after.sources[0].field == "spec.ingress[0].ports[0]"
    (gained,) = planned(estate(SHOP, DENY), DB).gained
    assert gained.before[0].sources[0].subject == "NetworkPolicy shop/deny"
    assert [str(s) for r in gained.after for s in r.sources] == [
        "NetworkPolicy shop/db: spec.ingress[0].from[0]"
    ]


def test_a_policy_written_in_another_way_changes_nothing():
    other = DB.replace("{app: api}", "{}").replace(
        "matchLabels: {}", "matchExpressions: [{key: app, operator: In, values: [api]}]"
    )
    report = planned(estate(SHOP, DB), other.replace("port: 5432", "port: sql"))
    assert said(report) == []
    assert [(o.action, o.name) for o in report.objects] == [("changed", "db")]
    assert (report.has_lost, report.has_gained) == (False, False)
    assert planned(estate(SHOP, DB), DB).objects == ()


def test_a_policy_about_nobody_changes_nothing():
    nobody = DB.replace("app: db", "app: nobody")
    assert said(planned(estate(SHOP), nobody)) == []
    assert said(planned(estate(SHOP, DENY), nobody)) == []


def test_no_egress_loses_the_names_too():
    deny = "kind: NetworkPolicy\nmetadata: {name: out}\nspec: {podSelector: {}, policyTypes: [Egress]}"
    assert said(planned(estate(SHOP), deny)) == [
        "lost: all pods of shop -> cluster DNS: 53/tcp, 53/udp",
        "lost: all pods of shop -> everybody: all traffic",
    ]
    names = """
kind: NetworkPolicy
metadata: {name: names}
spec:
  podSelector: {}
  policyTypes: [Egress]
  egress:
    - to:
        - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}
          podSelector: {matchLabels: {k8s-app: kube-dns}}
      ports: [{port: 53, protocol: UDP}, {port: 53}]
"""
    assert said(planned(estate(SHOP, deny), names)) == [
        "gained: all pods of shop -> cluster DNS: 53/tcp, 53/udp"
    ]


def test_labels_of_a_workload_decide_on_both_sides():
    renamed = """
kind: Deployment
metadata: {name: api}
spec: {template: {metadata: {labels: {app: backend}}, spec: {containers: [{ports: [{name: http, containerPort: 9000}]}]}}}
"""
    assert said(planned(estate(SHOP, DB), renamed)) == ["lost: shop/api -> shop/db: 5432/tcp"]
    (row,) = planned(estate(SHOP, DB), renamed).lost
    assert "app=api and pod shop/api has app=backend" in row.after[0].text


def test_labels_of_a_namespace_decide():
    team = DB.replace(
        "podSelector: {matchLabels: {app: api}}", "namespaceSelector: {matchLabels: {team: shop}}"
    )
    lab = "{kind: Namespace, metadata: {name: lab, labels: {team: shop}}}"
    assert said(planned(estate(SHOP, team), lab)) == ["gained: lab/probe -> shop/db: 5432/tcp"]
    other = "{kind: Namespace, metadata: {name: shop, labels: {team: other}}}"
    assert said(planned(estate(SHOP, team), other)) == ["lost: all pods of shop -> shop/db: 5432/tcp"]


def test_clients_outside_are_told_apart_where_rules_do():
    block = DB.replace(
        "podSelector: {matchLabels: {app: api}}", "ipBlock: {cidr: 0.0.0.0/0, except: [198.51.100.0/24]}"
    )
    assert said(planned(estate(SHOP, DENY), block)) == [
        "gained: all pods, nodes, internet but 198.51.100.0/24 -> shop/db: 5432/tcp"
    ]
    narrower = block.replace("0.0.0.0/0", "198.51.0.0/16")
    assert said(planned(estate(SHOP, block), narrower)) == [
        "lost: all pods, nodes, internet but 198.51.0.0/16 -> shop/db: 5432/tcp"
    ]
    part = "lost: 198.51.0.0/16 without 198.51.100.0/24 -> shop/db: 5432/tcp"
    assert said(planned(estate(SHOP, DENY, narrower), delete=["NetworkPolicy shop/db"])) == [part]


def test_names_of_ports_mean_what_each_pod_has():
    named = """
kind: NetworkPolicy
metadata: {name: named}
spec: {podSelector: {}, ingress: [{ports: [{port: http}]}]}
"""
    assert said(planned(estate(SHOP, DENY), named)) == [
        "gained: everybody -> shop/api: 9000/tcp",
        "gained: everybody -> shop/web: 8080/tcp",
    ]
    moved = """
kind: Deployment
metadata: {name: web}
spec: {template: {metadata: {labels: {app: web}}, spec: {containers: [{ports: [{name: http, containerPort: 8443}]}]}}}
"""
    assert said(planned(estate(SHOP, DENY, named), moved)) == [
        "gained: everybody -> shop/web: 8443/tcp",
        "lost: everybody -> shop/web: 8080/tcp",
    ]


def test_ranges_of_ports_and_traffic_without_ports():
    ranged = DB.replace("{port: 5432}", "{port: 5000, endPort: 6000}, {protocol: UDP}")
    assert said(planned(estate(SHOP, DENY, DB), ranged)) == [
        "gained: shop/api -> shop/db: 5000-5431/tcp, 5433-6000/tcp, any udp port"
    ]
    every = DB.replace(", ports: [{port: 5432}]", "")
    assert said(planned(estate(SHOP, DENY, DB), every)) == [
        "gained: shop/api -> shop/db: all traffic but 5432/tcp"
    ]


def test_cluster_policies_by_tier_priority_and_action():
    admin = """
kind: ClusterNetworkPolicy
metadata: {name: guard}
spec:
  tier: Admin
  priority: 10
  subject: {namespaces: {matchLabels: {team: shop}}}
  ingress: [{name: no-lab, action: Deny, from: [{namespaces: {matchLabels: {team: lab}}}]}]
"""
    assert said(planned(estate(SHOP), admin)) == ["lost: lab/probe -> all pods of shop: all traffic"]
    (row,) = planned(estate(SHOP), admin).lost
    assert row.after[0].text == 'ClusterNetworkPolicy guard: spec.ingress[0].from[0] ("no-lab") denies it'
    passes = (
        admin.replace("name: guard", "name: passes")
        .replace("priority: 10", "priority: 5")
        .replace("Deny", "Pass")
    )
    assert said(planned(estate(SHOP, admin), passes)) == [
        "gained: lab/probe -> all pods of shop: all traffic"
    ]
    accepts = admin.replace("Deny", "Accept")
    assert said(planned(estate(SHOP, DENY), accepts)) == [
        "gained: lab/probe -> all pods of shop: all traffic"
    ]


def test_pods_of_a_stateful_set_are_told_apart_by_their_names():
    first = DB.replace("{app: db}", "{statefulset.kubernetes.io/pod-name: db-0}")
    assert said(planned(estate(SHOP), first)) == sorted(
        [
            "lost: all pods but shop/api, nodes, internet -> shop/db (db-0): all traffic",
            "lost: shop/api -> shop/db (db-0): all traffic but 5432/tcp",
        ]
    )


def test_a_pod_in_its_nodes_network_is_the_node():
    host = """
kind: DaemonSet
metadata: {name: agent}
spec: {template: {metadata: {labels: {app: agent}}, spec: {hostNetwork: true}}}
"""
    agents = DB.replace("app: api", "app: agent")
    assert said(planned(estate(SHOP, DENY, host), agents)) == []
    nodes = DB.replace("podSelector: {matchLabels: {app: api}}", "ipBlock: {cidr: 172.30.0.11/32}")
    assert said(planned(estate(SHOP, DENY, host), nodes)) == ["gained: nodes -> shop/db: 5432/tcp"]


def test_workloads_that_come_and_go():
    new = "kind: CronJob\nmetadata: {name: report}\nspec: {jobTemplate: {spec: {template: {metadata: {labels: {app: api}}}}}}"
    found = said(planned(estate(SHOP, DENY, DB), new))
    assert "gained: shop/report -> shop/db: 5432/tcp" in found
    assert "gained: shop/report -> lab/probe, nodes, internet: all traffic" in found
    assert all("-> shop/report" not in text for text in found), "it is under the default deny at once"
    gone = planned(estate(SHOP, DENY, DB), delete=["Deployment shop/api"])
    assert "lost: shop/api -> shop/db: 5432/tcp" in said(gone)
    assert {row.after[0].text for row in gone.lost} == {"Deployment shop/api is not there"}
    assert "lost: shop/api -> shop/db: 5432/tcp" in said(
        planned(estate(SHOP, DENY, DB), "kind: Deployment\nmetadata: {name: api}\nspec: {replicas: 0}")
    )


def test_a_namespace_goes_with_all_that_is_in_it():
    found = planned(estate(SHOP, DENY), delete=["Namespace shop"])
    assert said(found)
    assert all("shop" in text for text in said(found))
    assert not found.has_gained


def test_what_is_not_there_cannot_be_deleted():
    with pytest.raises(NotFound, match="NetworkPolicy shop/dv: is not there"):
        planned(estate(SHOP), delete=["NetworkPolicy shop/dv"])


POD = """
kind: Pod
metadata:
  name: {name}
  labels: {{app: {app}, pod-template-hash: 5d4f, injected: "yes"}}
  ownerReferences: [{{kind: ReplicaSet, name: {owner}-5d4f, controller: true}}]
spec: {{containers: [{{ports: [{{name: http, containerPort: 8080}}]}}]}}
---
"""


def test_in_a_running_cluster_a_template_gives_its_labels_to_the_pods_that_are_there():
    deployment = "kind: Deployment\nmetadata: {name: web}\nspec: {replicas: 2, template: {metadata: {labels: {app: web}}}}\n---\n"
    pods = "".join(POD.format(name=f"web-5d4f-{n}", app="web", owner="web") for n in range(2))
    other = "kind: Pod\nmetadata: {name: one, labels: {app: api}}\n---\n"
    rule = (
        DENY
        + "---"
        + DB.replace("app: db", 'injected: "yes"').replace("app: api", "app: api").replace("5432", "8080")
    )
    before = live(deployment, pods, other, rule)
    renamed = deployment.replace("app: web", "app: front")
    assert said(planned(before, renamed)) == [], "the label that somebody else gave them stays"
    mine = "---" + DB.replace("name: db", "name: more").replace("app: db", "app: web").replace("5432", "9090")
    before = live(deployment, pods, other, rule + mine)
    assert said(planned(before, renamed)) == ["lost: shop/one -> shop/web: 9090/tcp"]
    assert "lost: shop/web -> internet, nodes: all traffic" not in said(planned(before, renamed))
    gone = said(planned(before, delete=["Deployment shop/web"]))
    assert "lost: shop/one -> shop/web: 8080/tcp, 9090/tcp" in gone
    assert said(planned(before, deployment.replace("replicas: 2", "replicas: 0"))) == gone


def test_pods_that_have_finished_reach_nobody_and_those_without_an_address_count():
    done = "kind: Pod\nmetadata: {name: done, labels: {app: api}}\nstatus: {phase: Succeeded, podIP: 10.244.7.7}\n---\n"
    waits = (
        "kind: Pod\nmetadata: {name: waits, labels: {app: api}}\nstatus: {phase: Pending, podIP: ''}\n---\n"
    )
    db = "kind: Pod\nmetadata: {name: db, labels: {app: db}}\n---\n"
    assert said(planned(live(done, db, DENY), DB)) == []
    assert said(planned(live(waits, db, DENY), DB)) == ["gained: shop/waits -> shop/db: 5432/tcp"]


def test_two_families_are_told_apart_only_where_they_differ():
    pods = """
kind: Pod
metadata: {name: a, labels: {app: api}}
status: {phase: Running, podIPs: [{ip: 10.244.1.2}, {ip: "2001:db8:44::2"}]}
---
kind: Pod
metadata: {name: b, labels: {app: db}}
status: {phase: Running, podIPs: [{ip: 10.244.1.3}, {ip: "2001:db8:44::3"}]}
"""
    assert said(planned(live(pods, DENY), DB)) == ["gained: shop/a -> shop/b: 5432/tcp"]
    six = DB.replace("podSelector: {matchLabels: {app: api}}", 'ipBlock: {cidr: "2001:db8:44::2/128"}')
    assert said(planned(live(pods, DENY), six)) == ["gained: shop/a -> shop/b: 5432/tcp (IPv6)"]
