from __future__ import annotations

import pytest

from netloom.errors import InvalidObject
from netloom.local.runner import podfiles
from netloom.local.runner.podfiles import Dns

DNS = Dns("cluster.local", ("10.96.0.10",), ("192.0.2.53",))
CLUSTER = (
    "search shop.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n"
)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("{}", CLUSTER),
        ("{dnsPolicy: Default}", "nameserver 192.0.2.53\n"),
        ("{hostNetwork: true}", "nameserver 192.0.2.53\n"),
        ("{hostNetwork: true, dnsPolicy: ClusterFirstWithHostNet}", CLUSTER),
        (
            "{dnsPolicy: None, dnsConfig: {nameservers: [192.0.2.1], searches: [a.example], options: [{name: edns0}]}}",
            "search a.example\nnameserver 192.0.2.1\noptions edns0\n",
        ),
        (
            "{dnsConfig: {searches: [cluster.local, b.example], options: [{name: ndots, value: '2'}]}}",
            "search shop.svc.cluster.local svc.cluster.local cluster.local b.example\n"
            "nameserver 10.96.0.10\noptions ndots:2\n",
        ),
        (
            "{dnsPolicy: None, dnsConfig: {nameservers: [192.0.2.1, 192.0.2.2, 192.0.2.3, 192.0.2.4]}}",
            "nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\n",
        ),
    ],
)
def test_resolv_conf(spec: str, expected: str, pod):
    assert podfiles.resolv_conf(pod(spec), DNS) == expected


def test_hosts_names_the_pod_and_its_aliases(pod):
    made = pod("{hostname: db, subdomain: data, hostAliases: [{ip: 192.0.2.9, hostnames: [old, older]}]}")
    text = podfiles.hosts(made, addresses=("10.244.1.5",), node_name="node-1", domain="cluster.local")
    assert "10.244.1.5\tdb.data.shop.svc.cluster.local\tdb\n" in text
    assert text.endswith("192.0.2.9\told\tolder\n")
    assert text.startswith("127.0.0.1\tlocalhost\n")


def test_hostnames(pod):
    assert podfiles.hostname(pod("{}"), "node-1") == "web-1"
    assert podfiles.hostname(pod("{hostname: other}"), "node-1") == "other"
    assert podfiles.hostname(pod("{hostNetwork: true}"), "node-1") == "node-1"
    assert podfiles.hostname(pod("{hostname: " + "a" * 62 + "-bc}"), "node-1") == "a" * 62


def test_the_kernel_may_know_the_whole_name(pod):
    asked = "{hostname: db-0, subdomain: db, setHostnameAsFQDN: true}"
    assert podfiles.kernel_hostname(pod(asked), "n", "cluster.local") == "db-0.db.shop.svc.cluster.local"
    assert podfiles.kernel_hostname(pod("{hostname: db-0, subdomain: db}"), "n", "cluster.local") == "db-0"
    with pytest.raises(InvalidObject, match="more than 64 characters"):
        podfiles.kernel_hostname(pod(asked), "n", "a" * 60)
