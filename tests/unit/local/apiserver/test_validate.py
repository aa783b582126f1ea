"""Rules on values: each bad document names the field, good ones pass. Documents get their defaults first, as in the server."""

from __future__ import annotations

import copy

import pytest

from netloom.local.apiserver.defaults import set_defaults
from netloom.local.apiserver.validate import validate

POD, SERVICE, DEPLOYMENT = "v1/Pod", "v1/Service", "apps/v1/Deployment"
SLICE, POLICY = "discovery.k8s.io/v1/EndpointSlice", "networking.k8s.io/v1/NetworkPolicy"
META = {"name": "web", "namespace": "shop"}


def errors(gvk, document, old=None):
    """What is wrong, one line each."""
    new = set_defaults(gvk, {"metadata": META, **document})
    before = set_defaults(gvk, {"metadata": META, **old}) if old is not None else None
    return [error.text for error in validate(gvk, new, before)]


def service(**spec):
    return {"spec": {"ports": [{"port": 80}], **spec}}


def pod(container=None, **spec):
    return {"spec": {"containers": [{"name": "c", "image": "app:1", **(container or {})}], **spec}}


def deployment(**spec):
    template = {"metadata": {"labels": {"app": "web"}}, **pod()}
    return {"spec": {"selector": {"matchLabels": {"app": "web"}}, "template": template, **spec}}


def policy(**spec):
    return {"spec": {"podSelector": {}, **spec}}


def endpoints_of(*endpoints, kind="IPv4", **fields):
    return {"addressType": kind, "endpoints": list(endpoints), **fields}


GOOD = [
    (SERVICE, service()),
    (SERVICE, service(type="NodePort", ports=[{"port": 80, "nodePort": 30080, "name": "a"}, {"port": 80, "protocol": "UDP", "name": "b"}])),
    (SERVICE, service(type="ExternalName", externalName="example.com.", ports=[])),
    (SERVICE, {"spec": {"clusterIP": "None"}}),
    (SERVICE, service(type="LoadBalancer", loadBalancerSourceRanges=["192.0.2.0/24"], externalTrafficPolicy="Local")),
    (SERVICE, service(type="LoadBalancer", ports=[{"name": "a", "port": 53}, {"name": "b", "port": 53, "protocol": "UDP"}, {"name": "c", "port": 53, "protocol": "SCTP"}])),
    (SERVICE, service(externalIPs=["192.0.2.7", "2001:db8::7"], externalTrafficPolicy="Local", trafficDistribution="PreferSameNode")),
    (SERVICE, service(type="LoadBalancer", externalTrafficPolicy="Local", healthCheckNodePort=32000, loadBalancerSourceRanges=[" 192.0.2.0/24 "], loadBalancerClass="example.org/lb", allocateLoadBalancerNodePorts=False)),
    (SERVICE, service(sessionAffinity="ClientIP", ports=[{"port": 80, "targetPort": "http", "appProtocol": "kubernetes.io/h2c"}])),
    (POD, pod()),
    (POD, pod({"env": [{"name": "my.var"}, {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}]})),
    (POD, pod({"volumeMounts": [{"name": "v", "mountPath": "/v"}]}, volumes=[{"name": "v"}])),
    (POD, pod(hostNetwork=True, dnsPolicy="None", dnsConfig={"nameservers": ["192.0.2.53"], "searches": ["a.b.", "_x.y", "."]})),
    (POD, pod({"ports": [{"containerPort": 1, "name": "http"}, {"containerPort": 1, "protocol": "UDP"}]})),
    (POD, pod(tolerations=[{"operator": "Exists"}], initContainers=[{"name": "i", "image": "x", "restartPolicy": "Always", "livenessProbe": {"tcpSocket": {"port": 1}}}])),
    (POD, pod(topologySpreadConstraints=[{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}])),
    (POD, pod({"lifecycle": {"preStop": {"sleep": {"seconds": 0}}, "postStart": {"httpGet": {"port": "web"}}}}, readinessGates=[{"conditionType": "netloom.io/in-force"}])),
    (DEPLOYMENT, deployment()),
    (DEPLOYMENT, deployment(strategy={"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}})),
    (DEPLOYMENT, deployment(selector={"matchExpressions": [{"key": "app", "operator": "In", "values": ["web"]}]})),
    ("apps/v1/ReplicaSet", deployment()),
    (SLICE, endpoints_of({"addresses": ["10.1.0.7"]}, ports=[{"port": 80}, {"name": "x"}])),
    (SLICE, endpoints_of({"addresses": ["2001:db8::7"]}, kind="IPv6")),
    (SLICE, endpoints_of({"addresses": ["a.example.com"]}, kind="FQDN")),
    (SLICE, {"addressType": "IPv4"}),
    ("v1/Endpoints", {"subsets": [{"addresses": [{"ip": "10.1.0.7"}], "ports": [{"port": 80}]}]}),
    (POLICY, policy()),
    (POLICY, policy(ingress=[{"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}, {"podSelector": {}, "namespaceSelector": {}}], "ports": [{"port": 80, "endPort": 90}, {"port": "http"}, {}]}])),
    ("v1/ConfigMap", {"data": {"a.b-C_d": "x"}, "binaryData": {"e": "eA=="}}),
    ("v1/Secret", {"type": "kubernetes.io/tls", "data": {"tls.crt": "eA==", "tls.key": "eA=="}}),
    ("coordination.k8s.io/v1/Lease", {"spec": {"leaseDurationSeconds": 15, "holderIdentity": "me"}}),
    ("v1/Event", {"involvedObject": {"namespace": "shop"}}),
]  # fmt: skip


@pytest.mark.parametrize(("gvk", "document"), GOOD, ids=[f"{n}-{gvk}" for n, (gvk, _) in enumerate(GOOD)])
def test_good_documents_pass_also_as_updates_of_themselves(gvk, document):
    assert errors(gvk, document) == []
    assert errors(gvk, document, copy.deepcopy(document)) == []


BAD_METADATA = [
    ("v1/Pod", {"name": "Web"}, 'metadata.name: Invalid value: "Web": must be a DNS subdomain'),
    ("v1/Pod", {"name": "a" * 254}, "must be no more than 253 bytes"),
    ("v1/Service", {"name": "1web"}, 'metadata.name: Invalid value: "1web": must be a DNS label (RFC 1035)'),
    ("v1/Service", {"name": "a.b"}, "must be a DNS label (RFC 1035)"),
    ("v1/Service", {"name": "a" * 64}, "must be no more than 63 bytes"),
    ("v1/ConfigMap", {"name": ""}, "metadata.name: Required value: name or generateName is required"),
    ("v1/ConfigMap", {"name": None, "generateName": "Bad-"}, 'metadata.generateName: Invalid value: "Bad-x"'),
    ("v1/ConfigMap", {"namespace": "a.b"}, 'metadata.namespace: Invalid value: "a.b": must be a DNS label (RFC 1123)'),
    ("v1/ConfigMap", {"labels": {"a b": "x"}}, 'metadata.labels: Invalid value: "a b": name part must consist of'),
    ("v1/ConfigMap", {"labels": {"A_/b": "x"}}, 'metadata.labels: Invalid value: "A_/b": prefix part must be a DNS subdomain'),
    ("v1/ConfigMap", {"labels": {"/b": "x"}}, "prefix part must be non-empty"),
    ("v1/ConfigMap", {"labels": {"a": "x" * 64}}, "must be no more than 63 bytes"),
    ("v1/ConfigMap", {"labels": {"a": "-x"}}, 'metadata.labels: Invalid value: "-x": a label\'s value'),
    ("v1/ConfigMap", {"annotations": {"a b": "x"}}, 'metadata.annotations: Invalid value: "a b"'),
    ("v1/ConfigMap", {"annotations": {"a": "x" * 262144}}, "metadata.annotations: Too long: may not be more than 262144 bytes"),
    ("v1/ConfigMap", {"finalizers": ["a b"]}, 'metadata.finalizers[0]: Invalid value: "a b"'),
    ("v1/ConfigMap", {"ownerReferences": [{"kind": "Pod", "name": "x", "apiVersion": "v1"}]}, "metadata.ownerReferences[0].uid: Required value"),
    ("v1/ConfigMap", {"ownerReferences": [{"kind": "Pod", "name": n, "apiVersion": "v1", "uid": n, "controller": True} for n in "ab"]},
     "metadata.ownerReferences: Invalid value: \"b\": only one reference can have controller set to true; Pod a has it already"),
]  # fmt: skip


@pytest.mark.parametrize(("gvk", "metadata", "told"), BAD_METADATA)
def test_bad_metadata(gvk, metadata, told):
    found = errors(
        gvk,
        {"metadata": {**META, **metadata}, "spec": service()["spec"] if gvk == SERVICE else pod()["spec"]},
    )
    assert any(told in line for line in found), found


def test_names_of_namespaces_are_labels_and_cluster_scoped_kinds_have_no_namespace():
    assert "DNS label (RFC 1123)" in errors("v1/Namespace", {"metadata": {"name": "a.b"}})[0]
    assert errors("v1/Node", {"metadata": {"name": "node-1.example"}}) == []
    assert errors("v1/Node", {}) == ["metadata.namespace: Forbidden: not allowed on this type"]


BAD = [
    (SERVICE, service(ports=[{"port": 70000}]), ["spec.ports[0].port: Invalid value: 70000: must be between 1 and 65535, inclusive",
                                                 "spec.ports[0].targetPort: Invalid value: 70000: must be between 1 and 65535, inclusive"]),
    (SERVICE, service(ports=[{"port": 80, "targetPort": 70000}]), ["spec.ports[0].targetPort: Invalid value: 70000: must be between 1 and 65535, inclusive"]),
    (SERVICE, service(ports=[{"port": 80, "targetPort": "a--b"}]), ['spec.ports[0].targetPort: Invalid value: "a--b": must not contain consecutive hyphens']),
    (SERVICE, service(ports=[{}]), ["spec.ports[0].port: Required value"]),
    (SERVICE, service(ports=[]), ["spec.ports: Required value"]),
    (SERVICE, service(ports=[{"port": 1}, {"port": 2}]), ["spec.ports[0].name: Required value", "spec.ports[1].name: Required value"]),
    (SERVICE, service(ports=[{"port": 1, "name": "a"}, {"port": 2, "name": "a"}]), ['spec.ports[1].name: Duplicate value: "a"']),
    (SERVICE, service(ports=[{"port": 1, "name": "a"}, {"port": 1, "name": "b"}]), ['spec.ports[1]: Duplicate value: {"port":1,"protocol":"TCP"}']),
    (SERVICE, service(ports=[{"port": 1, "protocol": "ICMP"}]), ['spec.ports[0].protocol: Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP"']),
    (SERVICE, service(ports=[{"port": 1, "nodePort": 30000}]), ["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"]),
    (SERVICE, service(type="NodePort", ports=[{"port": 1, "nodePort": 30000, "name": "a"}, {"port": 2, "nodePort": 30000, "name": "b"}]), ["spec.ports[1].nodePort: Duplicate value: 30000"]),
    (SERVICE, service(type="Spam"), ['spec.type: Unsupported value: "Spam": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"']),
    (SERVICE, service(type="ExternalName"), ["spec.externalName: Required value"]),
    (SERVICE, service(type="ExternalName", externalName="example.org", clusterIP="10.96.0.7", ipFamilies=["IPv4"]), ["spec.clusterIP: Forbidden: may not be set for ExternalName services", "spec.ipFamilies: Forbidden: may not be set for ExternalName services"]),
    (SERVICE, service(clusterIPs=["10.96.0.7", "10.96.0.8"]), ['spec.clusterIPs: Invalid value: ["10.96.0.7","10.96.0.8"]: may specify no more than one IP for each IP family']),
    (SERVICE, service(clusterIPs=["10.96.0.7"], ipFamilies=["IPv6"]), ['spec.clusterIPs[0]: Invalid value: "10.96.0.7": expected an IPv6 value as indicated by `ipFamilies[0]`']),
    (SERVICE, service(clusterIP="None", clusterIPs=["None", "10.96.0.7"]), ['spec.clusterIPs: Invalid value: ["None","10.96.0.7"]: \'None\' must be the first and only value']),
    (SERVICE, service(sessionAffinity="ClientIP", sessionAffinityConfig={"clientIP": {"timeoutSeconds": 0}}), ["spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 0: must be greater than 0 and less than 86400"]),
    (SERVICE, service(trafficDistribution="PreferFar"), ['spec.trafficDistribution: Unsupported value: "PreferFar": supported values: "PreferClose", "PreferSameNode", "PreferSameZone"']),
    (SERVICE, service(loadBalancerSourceRanges=["192.0.2.0/24"]), ["spec.loadBalancerSourceRanges: Forbidden: may only be used when `type` is 'LoadBalancer'"]),
    (SERVICE, service(type="NodePort", allocateLoadBalancerNodePorts=False), ["spec.allocateLoadBalancerNodePorts: Forbidden: may only be used when `type` is 'LoadBalancer'"]),
    (SERVICE, service(type="LoadBalancer", ports=[{"port": 10250}]), ["spec.ports[0].port: Invalid value: 10250: may not expose port 10250 externally since it is used by kubelet"]),
    (SERVICE, service(type="LoadBalancer", healthCheckNodePort=30000), ["spec.healthCheckNodePort: Invalid value: 30000: may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"]),
    (SERVICE, service(type="NodePort", clusterIP="None"), ["spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services"]),
    (SERVICE, service(clusterIP="10.96.0"), ['spec.clusterIPs[0]: Invalid value: "10.96.0": must be empty, "None", or an IP address such as 10.96.7.7']),
    (SERVICE, service(selector={"a b": "c"}), ['spec.selector: Invalid value: "a b": name part must consist of letters, digits, \'-\', \'_\' and \'.\', with a letter or digit at both ends, such as \'MyName\' or \'example.com/my.name\'']),
    (SERVICE, service(sessionAffinity="Cookie"), ['spec.sessionAffinity: Unsupported value: "Cookie": supported values: "ClientIP", "None"']),
    (SERVICE, service(sessionAffinity="ClientIP", sessionAffinityConfig={"clientIP": {"timeoutSeconds": 86401}}), ["spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 86401: must be greater than 0 and less than 86400"]),
    (SERVICE, service(externalTrafficPolicy="Local"), ['spec.externalTrafficPolicy: Invalid value: "Local": may only be set for externally-accessible services']),
    (SERVICE, service(internalTrafficPolicy="Spam"), ['spec.internalTrafficPolicy: Unsupported value: "Spam": supported values: "Cluster", "Local"']),
    (SERVICE, service(ipFamilies=["IPv4", "IPv4"]), ['spec.ipFamilies[1]: Duplicate value: "IPv4"']),
    (SERVICE, service(externalIPs=["127.0.0.1"]), ['spec.externalIPs[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)']),
    (SERVICE, service(loadBalancerClass="x"), ["spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'"]),
    (SERVICE, service(type="LoadBalancer", loadBalancerSourceRanges=["192.0.2.1/24"]), ['spec.loadBalancerSourceRanges[0]: Invalid value: "192.0.2.1/24": must be a range such as 192.0.2.0/24']),
    (SERVICE, service(healthCheckNodePort=30000), ["spec.healthCheckNodePort: Invalid value: 30000: may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"]),
    (SLICE, {}, ["addressType: Required value"]),
    (SLICE, endpoints_of(kind="Spam"), ['addressType: Unsupported value: "Spam": supported values: "FQDN", "IPv4", "IPv6"']),
    (SLICE, endpoints_of({"addresses": []}), ["endpoints[0].addresses: Required value: must contain at least 1 address"]),
    (SLICE, endpoints_of({"addresses": ["2001:db8::7"]}), ['endpoints[0].addresses[0]: Invalid value: "2001:db8::7": must be an IPv4 address']),
    (SLICE, endpoints_of({"addresses": ["10.1.0.7", "10.1.0.7"]}), ['endpoints[0].addresses[1]: Duplicate value: "10.1.0.7"']),
    (SLICE, endpoints_of({"addresses": ["169.254.0.1"]}), ['endpoints[0].addresses[0]: Invalid value: "169.254.0.1": may not be in the link-local range (169.254.0.0/16, fe80::/10)']),
    (SLICE, endpoints_of(*[{"addresses": ["10.1.0.7"]}] * 1001), ["endpoints: Too many: 1001: must have at most 1000 items"]),
    (SLICE, endpoints_of(ports=[{"name": "a", "port": 1}, {"name": "a", "port": 2}]), ['ports[1].name: Duplicate value: "a"']),
    (SLICE, endpoints_of({"addresses": ["10.1.0.7"], "hints": {"forZones": [{"name": "z"}, {"name": "z"}]}}), ['endpoints[0].hints.forZones[1].name: Duplicate value: "z"']),
    ("v1/Endpoints", {"subsets": [{}]}, ["subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"]),
    ("v1/Endpoints", {"subsets": [{"addresses": [{"ip": "x"}], "ports": [{"port": 0}]}]},
     ['subsets[0].addresses[0].ip: Invalid value: "x": must be an IP address, such as 192.0.2.7 or 2001:db8::7', "subsets[0].ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive"]),
    (POLICY, policy(podSelector={"matchExpressions": [{"key": "a", "operator": "In"}]}), ["spec.podSelector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'"]),
    (POLICY, policy(podSelector={"matchExpressions": [{"key": "a", "operator": "Like"}]}), ['spec.podSelector.matchExpressions[0].operator: Invalid value: "Like": not a valid selector operator']),
    (POLICY, policy(policyTypes=["Sideways"]), ['spec.policyTypes[0]: Unsupported value: "Sideways": supported values: "Egress", "Ingress"']),
    (POLICY, policy(ingress=[{"from": [{}]}]), ["spec.ingress[0].from[0]: Required value: must specify a peer"]),
    (POLICY, policy(egress=[{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}}]}]), ["spec.egress[0].to[0]: Forbidden: may not specify both ipBlock and another peer"]),
    (POLICY, policy(ingress=[{"from": [{"ipBlock": {"cidr": "10.0.0"}}]}]), ['spec.ingress[0].from[0].ipBlock.cidr: Invalid value: "10.0.0": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)']),
    (POLICY, policy(ingress=[{"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16"]}}]}]), ['spec.ingress[0].from[0].ipBlock.except[0]: Invalid value: "11.0.0.0/16": must be a strict subset of `cidr`']),
    (POLICY, policy(ingress=[{"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.0.0.0/8"]}}]}]), ['spec.ingress[0].from[0].ipBlock.except[0]: Invalid value: "10.0.0.0/8": must be a strict subset of `cidr`']),
    (POLICY, policy(ingress=[{"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["2001:db8::/64"]}}]}]), ['spec.ingress[0].from[0].ipBlock.except[0]: Invalid value: "2001:db8::/64": must be a strict subset of `cidr`']),
    (POLICY, policy(ingress=[{"ports": [{"port": 90, "endPort": 80}]}]), ["spec.ingress[0].ports[0].endPort: Invalid value: 80: must be greater than or equal to `port`"]),
    (POLICY, policy(ingress=[{"ports": [{"port": "http", "endPort": 80}]}]), ["spec.ingress[0].ports[0].endPort: Invalid value: 80: may not be specified when `port` is non-numeric"]),
    (POLICY, policy(ingress=[{"ports": [{"endPort": 80}]}]), ["spec.ingress[0].ports[0].endPort: Invalid value: 80: may not be specified when `port` is not specified"]),
    (POLICY, policy(ingress=[{"ports": [{"port": 0}]}]), ["spec.ingress[0].ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive"]),
    (DEPLOYMENT, {"spec": {"template": pod()}}, ["spec.selector: Required value"]),
    (DEPLOYMENT, {"spec": {"selector": {"matchLabels": {"a": "b"}}}}, ['spec.template.metadata.labels: Invalid value: {}: `selector` does not match template `labels`', "spec.template: Required value"]),
    (DEPLOYMENT, deployment(selector={}), ["spec.selector: Invalid value: {}: empty selector is invalid for deployment"]),
    (DEPLOYMENT, deployment(selector={"matchLabels": {"app": "x"}}), ['spec.template.metadata.labels: Invalid value: {"app":"web"}: `selector` does not match template `labels`']),
    (DEPLOYMENT, deployment(replicas=-1), ["spec.replicas: Invalid value: -1: must be greater than or equal to 0"]),
    (DEPLOYMENT, deployment(minReadySeconds=700), ["spec.progressDeadlineSeconds: Invalid value: 600: must be greater than minReadySeconds"]),
    (DEPLOYMENT, deployment(strategy={"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "0%"}}), ['spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "0%": may not be 0 when `maxSurge` is 0']),
    (DEPLOYMENT, deployment(strategy={"rollingUpdate": {"maxUnavailable": "101%"}}), ['spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "101%": must not be greater than 100%']),
    (DEPLOYMENT, deployment(strategy={"rollingUpdate": {"maxSurge": "lots"}}), ['spec.strategy.rollingUpdate.maxSurge: Invalid value: "lots": must be an integer or a percentage such as 25%']),
    (DEPLOYMENT, deployment(strategy={"type": "Recreate", "rollingUpdate": {}}), ["spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"]),
    (DEPLOYMENT, deployment(template={"metadata": {"labels": {"app": "web"}}, **pod(restartPolicy="Never")}), ['spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"']),
    (DEPLOYMENT, deployment(template={"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c"}]}}), ["spec.template.spec.containers[0].image: Required value"]),
    ("v1/ConfigMap", {"data": {"a b": "x"}}, ["data[a b]: Invalid value: \"a b\": a key is letters, digits, '-', '_' and '.', such as 'key.name' or 'KEY_NAME'"]),
    ("v1/ConfigMap", {"data": {"a": "x"}, "binaryData": {"a": "eA=="}}, ['data[a]: Invalid value: "a": duplicate of key present in binaryData']),
    ("v1/ConfigMap", {"data": {"a": "x" * (1024 * 1024 + 1)}}, ["Too long: may not be more than 1048576 bytes"]),
    ("v1/Secret", {"type": "kubernetes.io/tls", "data": {"tls.crt": "eA=="}}, ["data[tls.key]: Required value"]),
    ("coordination.k8s.io/v1/Lease", {"spec": {"leaseDurationSeconds": 0}}, ["spec.leaseDurationSeconds: Invalid value: 0: must be greater than or equal to 1"]),
    ("v1/Event", {"involvedObject": {"namespace": "other"}}, ['involvedObject.namespace: Invalid value: "other": does not match event.namespace']),
]  # fmt: skip


@pytest.mark.parametrize(
    ("gvk", "document", "told"), BAD, ids=[f"{n}-{told[0][:60]}" for n, (_, _, told) in enumerate(BAD)]
)
def test_bad_documents_name_the_field(gvk, document, told):
    assert errors(gvk, document) == told


BAD_PODS = [
    ({"spec": {"containers": []}}, ["spec.containers: Required value"]),
    (pod({"name": ""}), ["spec.containers[0].name: Required value"]),
    (pod({"image": ""}), ["spec.containers[0].image: Required value"]),
    (pod({"image": " x"}), ['spec.containers[0].image: Invalid value: " x": must not have leading or trailing whitespace']),
    ({"spec": {"containers": [{"name": "a", "image": "x"}, {"name": "a", "image": "x"}]}}, ['spec.containers[1].name: Duplicate value: "a"']),
    (pod(initContainers=[{"name": "c", "image": "x"}]), ['spec.containers[0].name: Duplicate value: "c"']),
    (pod({"ports": [{"containerPort": 0}]}), ["spec.containers[0].ports[0].containerPort: Invalid value: 0: must be between 1 and 65535, inclusive"]),
    (pod({"ports": [{"containerPort": 1, "name": "a-name-that-is-long"}]}), ['spec.containers[0].ports[0].name: Invalid value: "a-name-that-is-long": must be no more than 15 characters']),
    (pod({"ports": [{"containerPort": 1, "name": "1"}]}), ['spec.containers[0].ports[0].name: Invalid value: "1": must contain at least one letter']),
    (pod({"ports": [{"containerPort": 1, "name": "a"}, {"containerPort": 2, "name": "a"}]}), ['spec.containers[0].ports[1].name: Duplicate value: "a"']),
    (pod({"ports": [{"containerPort": 1, "protocol": "tcp"}]}), ['spec.containers[0].ports[0].protocol: Unsupported value: "tcp": supported values: "SCTP", "TCP", "UDP"']),
    (pod({"ports": [{"containerPort": 1, "hostPort": 80}, {"containerPort": 2, "hostPort": 80}]}), ['spec.containers[0].ports[1].hostPort: Duplicate value: "80/TCP"']),
    (pod({"ports": [{"containerPort": 1, "hostPort": 2}]}, hostNetwork=True), ["spec.containers[0].ports[0].hostPort: Invalid value: 2: must match `containerPort` when `hostNetwork` is true"]),
    (pod({"imagePullPolicy": "Never!"}), ['spec.containers[0].imagePullPolicy: Unsupported value: "Never!": supported values: "Always", "IfNotPresent", "Never"']),
    (pod({"env": [{"name": "A=B"}]}), ["spec.containers[0].env[0].name: Invalid value: \"A=B\": must be printable ASCII without '='"]),
    (pod({"env": [{"name": "A", "valueFrom": {}}]}), ["spec.containers[0].env[0].valueFrom: Invalid value: {}: must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef`, `fileKeyRef`"]),
    (pod({"env": [{"name": "A", "value": "x", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}), ['spec.containers[0].env[0].valueFrom: Invalid value: {"secretKeyRef":{"name":"s","key":"k"}}: may not be specified when `value` is not empty']),
    (pod({"envFrom": [{}]}), ["spec.containers[0].envFrom[0]: Invalid value: {}: must specify exactly one of: `configMapRef` or `secretRef`"]),
    (pod({"volumeMounts": [{"name": "v", "mountPath": "/x"}]}), ['spec.containers[0].volumeMounts[0].name: Not found: "v"']),
    (pod({"volumeMounts": [{"name": "v", "mountPath": "/x"}] * 2}, volumes=[{"name": "v"}]), ['spec.containers[0].volumeMounts[1].mountPath: Invalid value: "/x": must be unique']),
    (pod(volumes=[{"name": "v", "emptyDir": {}, "hostPath": {"path": "/"}}]), ["spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type"]),
    (pod(volumes=[{"name": "v"}, {"name": "v"}]), ['spec.volumes[1].name: Duplicate value: "v"']),
    (pod({"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1500m"}}}), ['spec.containers[0].resources.requests[cpu]: Invalid value: "2": must be less than or equal to cpu limit of 1500m']),
    (pod({"resources": {"limits": {"cpu": "-1"}, "requests": {"cpu": "-1"}}}), ['spec.containers[0].resources.limits[cpu]: Invalid value: "-1": must be greater than or equal to 0', 'spec.containers[0].resources.requests[cpu]: Invalid value: "-1": must be greater than or equal to 0']),
    (pod({"livenessProbe": {}}), ["spec.containers[0].livenessProbe: Required value: must specify a handler type"]),
    (pod({"livenessProbe": {"tcpSocket": {"port": 1}, "exec": {"command": ["x"]}}}), ["spec.containers[0].livenessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type"]),
    (pod({"livenessProbe": {"tcpSocket": {}}}), ["spec.containers[0].livenessProbe.tcpSocket.port: Required value"]),
    (pod({"livenessProbe": {"httpGet": {"port": 70000}}}), ["spec.containers[0].livenessProbe.httpGet.port: Invalid value: 70000: must be between 1 and 65535, inclusive"]),
    (pod({"livenessProbe": {"exec": {}}}), ["spec.containers[0].livenessProbe.exec.command: Required value"]),
    (pod({"livenessProbe": {"exec": {"command": ["x"]}, "successThreshold": 2}}), ["spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1"]),
    (pod({"readinessProbe": {"exec": {"command": ["x"]}, "periodSeconds": -1}}), ["spec.containers[0].readinessProbe.periodSeconds: Invalid value: -1: must be greater than or equal to 0"]),
    (pod(initContainers=[{"name": "i", "image": "x", "livenessProbe": {"exec": {"command": ["x"]}}}]), ["spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without restartPolicy=Always"]),
    (pod(restartPolicy="Sometimes"), ['spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "Never", "OnFailure"']),
    (pod(dnsPolicy="None"), ["spec.dnsConfig.nameservers: Required value: must provide at least one DNS nameserver when `dnsPolicy` is None"]),
    (pod(dnsConfig={"nameservers": ["a", "192.0.2.1", "192.0.2.2", "192.0.2.3"]}), ["spec.dnsConfig.nameservers: Too many: 4: must have at most 3 items", 'spec.dnsConfig.nameservers[0]: Invalid value: "a": must be an IP address, such as 192.0.2.7 or 2001:db8::7']),
    (pod(hostname="a.b"), ["spec.hostname: Invalid value: \"a.b\": must be a DNS label (RFC 1123): lower case letters, digits and '-', with a letter or digit at both ends, such as 'my-name' or '123-abc'"]),
    (pod(terminationGracePeriodSeconds=-1), ["spec.terminationGracePeriodSeconds: Invalid value: -1: must be greater than or equal to 0"]),
    (pod({"lifecycle": {"preStop": {"sleep": {"seconds": 31}}}}), ["spec.containers[0].lifecycle.preStop.sleep: Invalid value: 31: must be non-negative and less than terminationGracePeriodSeconds (30)"]),
    (pod({"lifecycle": {"postStart": {"sleep": {"seconds": -1}}}}), ["spec.containers[0].lifecycle.postStart.sleep: Invalid value: -1: must be non-negative and less than terminationGracePeriodSeconds (30)"]),
    (pod({"lifecycle": {"preStop": {}}}), ["spec.containers[0].lifecycle.preStop: Required value: must specify a handler type"]),
    (pod(hostAliases=[{"ip": "x"}]), ['spec.hostAliases[0].ip: Invalid value: "x": must be an IP address, such as 192.0.2.7 or 2001:db8::7']),
    (pod(tolerations=[{"value": "x"}]), ['spec.tolerations[0].operator: Invalid value: "Equal": operator must be Exists when `key` is empty']),
    (pod(topologySpreadConstraints=[{"maxSkew": 0, "topologyKey": "z", "whenUnsatisfiable": "ScheduleAnyway"}]), ["spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero"]),
]  # fmt: skip


@pytest.mark.parametrize(("document", "told"), BAD_PODS, ids=[told[0][:70] for _, told in BAD_PODS])
def test_bad_pods_name_the_field(document, told):
    assert errors(POD, document) == told


def test_bad_nodes():
    node = {
        "metadata": {"name": "n"},
        "spec": {
            "podCIDRs": ["10.244.1.0/24", "10.244.2.0/24", "spam"],
            "taints": [{"key": "a", "effect": "Spam"}],
        },
    }
    assert errors("v1/Node", node) == [
        'spec.podCIDRs: Invalid value: ["10.244.1.0/24","10.244.2.0/24","spam"]: may hold no more than one range of each IP family',
        'spec.podCIDRs[2]: Invalid value: "spam": must be a range such as 10.244.1.0/24',
        'spec.taints[0].effect: Unsupported value: "Spam": supported values: "NoExecute", "NoSchedule", "PreferNoSchedule"',
    ]


@pytest.mark.parametrize(
    ("gvk", "old", "new", "told"),
    [
        (SERVICE, service(clusterIP="10.96.0.7"), service(clusterIP="10.96.0.8"), 'spec.clusterIPs[0]: Invalid value: "10.96.0.8": may not change once set'),
        (DEPLOYMENT, deployment(), deployment(selector={"matchExpressions": [{"key": "app", "operator": "Exists"}]}), 'spec.selector: Invalid value: {"matchExpressions":[{"key":"app","operator":"Exists"}]}: field is immutable'),
        (SLICE, endpoints_of(), endpoints_of(kind="IPv6"), 'addressType: Invalid value: "IPv6": field is immutable'),
        ("v1/Secret", {"type": "Opaque"}, {"type": "other/x"}, 'type: Invalid value: "other/x": field is immutable'),
        ("v1/ConfigMap", {"immutable": True, "data": {"a": "1"}}, {"immutable": True, "data": {"a": "2"}}, "data: Forbidden: field is immutable when `immutable` is set"),
        (POD, pod(), pod({"args": ["x"]}), "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`, `spec.initContainers[*].image`, `spec.activeDeadlineSeconds` and `spec.tolerations` (additions); changed: spec.containers[0].args"),
        (POD, pod(), pod(nodeName="node-1"), "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`, `spec.initContainers[*].image`, `spec.activeDeadlineSeconds` and `spec.tolerations` (additions); changed: spec.nodeName"),
        (POD, pod(), {"spec": {"containers": [*pod()["spec"]["containers"], {"name": "d", "image": "x"}]}}, "spec.containers: Forbidden: pod updates may not add or remove containers"),
        (POD, pod(tolerations=[{"operator": "Exists"}]), pod(), "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"),
    ],
)  # fmt: skip
def test_what_cannot_be_changed(gvk, old, new, told):
    assert errors(gvk, new, old) == [told]


def test_what_of_a_pod_can_be_changed():
    new = pod({"image": "app:2"}, tolerations=[{"operator": "Exists"}], activeDeadlineSeconds=5)
    assert errors(POD, new, pod()) == []


def test_the_class_of_a_balancer_is_chosen_once():
    before, after = (
        service(type="LoadBalancer", loadBalancerClass=c) for c in ("example.org/a", "example.org/b")
    )
    told = 'spec.loadBalancerClass: Invalid value: "example.org/b": may not change once set'
    assert errors(SERVICE, after, before) == [told]
    assert errors(SERVICE, service(type="LoadBalancer"), before) != []
    assert errors(SERVICE, before, service()) == []


def balanced(*ingress, **spec):
    return {
        **service(**{"type": "LoadBalancer", **spec}),
        "status": {"loadBalancer": {"ingress": list(ingress)}},
    }


BAD_STATUS = [
    ({"ip": "192.0.2"}, 'status.loadBalancer.ingress[0].ip: Invalid value: "192.0.2": must be an IP address, such as 192.0.2.7 or 2001:db8::7'),
    ({"ip": "192.0.2.7", "ipMode": "Bridge"}, 'status.loadBalancer.ingress[0].ipMode: Unsupported value: "Bridge": supported values: "Proxy", "VIP"'),
    ({"hostname": "lb.example.org", "ipMode": "VIP"}, "status.loadBalancer.ingress[0].ipMode: Forbidden: may not be specified when `ip` is not set"),
    ({"hostname": "192.0.2.7"}, 'status.loadBalancer.ingress[0].hostname: Invalid value: "192.0.2.7": must be a DNS name, not an IP address'),
]  # fmt: skip


@pytest.mark.parametrize(("ingress", "told"), BAD_STATUS)
def test_addresses_of_a_balancer_are_checked(ingress, told):
    assert errors(SERVICE, balanced(ingress)) == [told]


def test_addresses_of_a_balancer():
    mixed = [{"ip": "192.0.2.7"}, {"ip": "2001:db8::7", "ipMode": "Proxy"}, {"hostname": "lb.example.org"}]
    assert errors(SERVICE, balanced(*mixed)) == []
    told = "status.loadBalancer.ingress: Forbidden: may only be used when `spec.type` is 'LoadBalancer'"
    assert errors(SERVICE, balanced(*mixed, type="NodePort")) == [told]


def test_source_ranges_by_annotation():
    def annotated(text, kind):
        metadata = {**META, "annotations": {"service.beta.kubernetes.io/load-balancer-source-ranges": text}}
        return errors(SERVICE, {**service(type=kind), "metadata": metadata})

    assert annotated(" 192.0.2.0/24, 2001:db8::/32 ", "LoadBalancer") == []
    assert "must be a list of ranges" in annotated("192.0.2.0/33", "LoadBalancer")[0]
    assert "may only be used when `type` is 'LoadBalancer'" in annotated("192.0.2.0/24", "ClusterIP")[0]


def test_pod_ranges_of_a_node_are_given_once():
    old = {"metadata": {"name": "n"}, "spec": {"podCIDR": "10.244.1.0/24"}}
    new = {"metadata": {"name": "n"}, "spec": {"podCIDR": "10.244.2.0/24"}}
    assert errors("v1/Node", new, {"metadata": {"name": "n"}}) == []
    assert errors("v1/Node", new, old) == [
        'spec.podCIDRs: Forbidden: node updates may not change podCIDR except from "" to valid'
    ]


def test_errors_become_causes():
    (error,) = validate("v1/ConfigMap", {"metadata": META, "data": {"a b": "x"}}, None)
    assert (error.cause.reason, error.cause.field) == ("FieldValueInvalid", "data[a b]")
    assert error.cause.message.startswith('Invalid value: "a b": a key is')
