"""When a Service leads to all of its pods."""

from netloom.local.ready_services import without_some
from netloom.testing.builders import load_view
from netloom.units import ObjectKey

KEY = ObjectKey("shop", "web")
PODS = """
apiVersion: v1
kind: Pod
metadata: {name: web-1, namespace: shop, labels: {app: web}}
status: {podIP: 10.1.0.5, podIPs: [{ip: 10.1.0.5}, {ip: "fd00::5"}], conditions: [{type: Ready, status: "True"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: late, namespace: shop, labels: {app: web}}
status: {podIP: 10.1.0.6, conditions: [{type: Ready, status: "False"}]}
"""
SERVICE = """
---
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: shop}}
spec: {{selector: {{app: web}}, ipFamilies: {}}}
"""
SLICE = """
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {}, namespace: shop, labels: {{kubernetes.io/service-name: web}}}}
addressType: {}
endpoints: [{{addresses: ["{}"], conditions: {{ready: true}}}}]
"""
V4, V6 = SLICE.format("four", "IPv4", "10.1.0.5"), SLICE.format("six", "IPv6", "fd00::5")


def missing(*texts):
    view = load_view(PODS + "".join(texts))
    return without_some({KEY: {"app": "web"}}, view.services, view.pods, view.slices)


def test_each_family_that_it_is_served_in_counts_and_no_other():
    both, six = SERVICE.format("[IPv4, IPv6]"), SERVICE.format("[IPv6]")
    assert missing(V4, V6) == ["shop/web"]  # the Service is not there yet
    assert missing(both) == missing(both, V4) == missing(both, V6) == ["shop/web"]
    assert missing(both, V4, V6) == []
    assert missing(six, V4) == ["shop/web"]
    assert missing(six, V6) == []
    assert missing(SERVICE.format("[IPv4]"), V4) == []
