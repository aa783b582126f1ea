import msgspec
import pytest

from netloom.errors import InvalidObject
from netloom.local.runner.runtime_config import BURST, EGRESS, INGRESS, runtime_config
from netloom.local.runner.spec import PodMeta

PORTS = """
initContainers:
  - name: proxy
    restartPolicy: Always
    ports: [{containerPort: 15001, hostPort: 15001}]
  - name: once
    ports: [{containerPort: 1, hostPort: 1}]
containers:
  - name: app
    ports:
      - {containerPort: 80, hostPort: 8080, hostIP: 192.0.2.1}
      - {containerPort: 53, hostPort: 53, protocol: UDP}
      - {containerPort: 9090}
"""


def annotated(pod, **annotations):
    one = pod("containers: [{name: app}]")
    meta = msgspec.convert({**msgspec.to_builtins(one.metadata), "annotations": annotations}, PodMeta)
    return msgspec.structs.replace(one, metadata=meta)


def test_nothing_is_said_of_a_pod_that_asks_for_nothing(pod):
    assert runtime_config(pod("containers: [{name: app, ports: [{containerPort: 80}]}]")) == {}


def test_host_ports_of_all_that_keeps_running(pod):
    assert runtime_config(pod(PORTS)) == {
        "portMappings": [
            {"hostPort": 15001, "containerPort": 15001, "protocol": "tcp", "hostIP": ""},
            {"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": "192.0.2.1"},
            {"hostPort": 53, "containerPort": 53, "protocol": "udp", "hostIP": ""},
        ]
    }


def test_bandwidth_is_a_quantity_of_bits_per_second(pod):
    assert runtime_config(annotated(pod, **{INGRESS: "10M"})) == {
        "bandwidth": {"ingressRate": 10_000_000, "ingressBurst": BURST}
    }
    both = runtime_config(annotated(pod, **{INGRESS: "1Mi", EGRESS: "1.5k"}))["bandwidth"]
    assert (both["ingressRate"], both["egressRate"]) == (1 << 20, 1500)


@pytest.mark.parametrize("text", ["fast", "999", "2P", "-1M", ""])
def test_a_bandwidth_that_cannot_be_names_the_annotation(pod, text):
    with pytest.raises(InvalidObject, match="egress-bandwidth"):
        runtime_config(annotated(pod, **{EGRESS: text}))
