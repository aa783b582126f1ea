from __future__ import annotations

from netloom.local.runner.ports import listens
from netloom.local.runner.standins.feed import Listen


def test_declared_ports_are_required_and_services_and_probes_add_theirs(pod, service):
    made = pod("""
containers:
- name: app
  ports: [{containerPort: 8080, name: http}, {containerPort: 53, protocol: UDP}]
  readinessProbe: {httpGet: {port: http}}
  livenessProbe: {tcpSocket: {port: 9000}}
- name: side
  ports: [{containerPort: 9090}]
""")
    selecting = service("""
metadata: {name: web, namespace: shop}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: http}, {port: 81, targetPort: 9090}, {port: 82, targetPort: 7000}, {port: 83}]
""")
    others = [
        service("{metadata: {name: a, namespace: shop}, spec: {selector: {app: db}, ports: [{port: 1}]}}"),
        service("{metadata: {name: b, namespace: other}, spec: {selector: {app: web}, ports: [{port: 2}]}}"),
        service("{metadata: {name: c, namespace: shop}, spec: {ports: [{port: 3}]}}"),
    ]
    assert listens(made, [selecting, *others]) == {
        "app": (
            Listen(8080, "TCP", required=True),
            Listen(53, "UDP", required=True),
            Listen(9000, "TCP"),
            Listen(83, "TCP"),
            Listen(7000, "TCP"),
        ),
        "side": (Listen(9090, "TCP", required=True),),
    }


def test_two_containers_that_declare_one_port_both_require_it(pod):
    made = pod(
        "containers: [{name: a, ports: [{containerPort: 80}]}, {name: b, ports: [{containerPort: 80}]}]"
    )
    assert listens(made, []) == {
        "a": (Listen(80, "TCP", required=True),),
        "b": (Listen(80, "TCP", required=True),),
    }
