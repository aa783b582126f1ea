"""Defaults of the API: what a field means when it is left out, written into the document. Pure.

Comes in: a document of known types (schema.type_errors was asked before). Goes out: a copy without nulls and with defaults;
doing it twice changes nothing. Not here: what the server decides (addresses, node ports, uid), admission. Source: the API
reference, field by field; pods themselves get more than pod templates do, as in kube-apiserver.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from netloom.api.nulls import without_nulls
from netloom.local.apiserver.custom.definition import fill as fill_definition
from netloom.local.apiserver.definitions import definition
from netloom.local.apiserver.jsonvalue import Json
from netloom.local.apiserver.service_updates import is_reached_from_outside
from netloom.local.apiserver.structural import fill_defaults

Document = dict[str, Any]

_FILE_MODE = 0o644
_TOKEN_SECONDS = 3600
_AFFINITY_SECONDS = 10800
_CONTAINER_LISTS = ("initContainers", "containers", "ephemeralContainers")


def set_defaults(gvk: str, document: Document) -> Document:
    """The document with its defaults; unknown kinds only lose their nulls and what is empty in their metadata."""
    result: Document = without_nulls(document)
    if isinstance(metadata := result.get("metadata"), dict):
        # lists and maps of ObjectMeta that are empty are not there: kubectl diff compares them with what it left out
        result["metadata"] = {name: value for name, value in metadata.items() if value not in ({}, [])}
    if defined := definition(gvk):
        fill_defaults(defined.schema, result)
    elif fill := _KINDS.get(gvk):
        fill(result)
    return result


def _objects(value: Json) -> Iterator[Document]:
    return (item for item in value if isinstance(item, dict)) if isinstance(value, list) else iter(())


def _object(parent: Document, field: str) -> Document:
    """The object at a field; made and put there where it is missing."""
    found = parent.setdefault(field, {})
    return found if isinstance(found, dict) else {}


def _member(parent: Mapping[str, Any], field: str) -> Document:
    """The object at a field, or an empty one that belongs to nobody."""
    found = parent.get(field)
    return found if isinstance(found, dict) else {}


def _fill(target: Document, values: Mapping[str, Any]) -> None:
    for field, value in values.items():
        if target.get(field) in (None, ""):
            target[field] = value


# core/v1 Pod and everything with a pod template


def _pod(pod: Document) -> None:
    spec = _object(pod, "spec")
    _pod_spec(spec)
    spec.setdefault("enableServiceLinks", True)
    for field in _CONTAINER_LISTS:
        for container in _objects(spec.get(field)):
            _requests_from_limits(container)
            if spec.get("hostNetwork") is True:
                for port in _objects(container.get("ports")):
                    if not port.get("hostPort") and "containerPort" in port:
                        port["hostPort"] = port["containerPort"]
    status = _member(pod, "status")
    _first_and_all(status, "podIP", "podIPs")
    _first_and_all(status, "hostIP", "hostIPs")


def _first_and_all(status: Document, one: str, several: str) -> None:
    """The single address and the list of addresses say the same; whichever is there fills the other."""
    if status.get(one) and not status.get(several):
        status[several] = [{"ip": status[one]}]
    elif not status.get(one) and (first := next(_objects(status.get(several)), None)):
        status[one] = first.get("ip", "")


def _requests_from_limits(container: Document) -> None:
    resources = _member(container, "resources")
    if limits := _member(resources, "limits"):
        resources["requests"] = {**limits, **_member(resources, "requests")}


def _pod_spec(spec: Document) -> None:
    _fill(
        spec,
        {
            "restartPolicy": "Always",
            "dnsPolicy": "ClusterFirst",
            "schedulerName": "default-scheduler",
            "terminationGracePeriodSeconds": 30,
        },
    )
    spec.setdefault("securityContext", {})
    account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if account:
        spec["serviceAccountName"] = spec["serviceAccount"] = account
    for field in _CONTAINER_LISTS:
        for container in _objects(spec.get(field)):
            _container(container)
    for volume in _objects(spec.get("volumes")):
        _volume(volume)


def _container(container: Document) -> None:
    _fill(
        container,
        {
            "imagePullPolicy": _pull_policy(str(container.get("image", ""))),
            "terminationMessagePath": "/dev/termination-log",
            "terminationMessagePolicy": "File",
        },
    )
    container.setdefault("resources", {})
    for port in _objects(container.get("ports")):
        _fill(port, {"protocol": "TCP"})
    for variable in _objects(container.get("env")):
        _field_reference(_member(variable, "valueFrom"))
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if probe := container.get(name):
            _probe(probe)
    for hook in ("postStart", "preStop"):
        _http_get(_member(_member(container, "lifecycle"), hook))


def _pull_policy(image: str) -> str:
    """``Always`` for the tag latest, also where it is only meant; a digest always names the same image."""
    if "@" in image:
        return "IfNotPresent"
    _, colon, tag = image.rpartition("/")[2].partition(":")
    return "IfNotPresent" if colon and tag != "latest" else "Always"


def _probe(probe: Document) -> None:
    for field, value in (
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
    ):
        # zero means the default too: the fields are plain integers
        probe[field] = probe.get(field) or value
    _http_get(probe)
    if "grpc" in probe:
        _member(probe, "grpc").setdefault("service", "")


def _http_get(handler: Document) -> None:
    if get := _member(handler, "httpGet"):
        _fill(get, {"path": "/", "scheme": "HTTP"})


def _field_reference(source: Document) -> None:
    if reference := _member(source, "fieldRef"):
        _fill(reference, {"apiVersion": "v1"})


def _volume(volume: Document) -> None:
    if not any(field != "name" for field in volume):
        volume["emptyDir"] = {}
    for source in ("secret", "configMap", "downwardAPI", "projected"):
        if source in volume:
            _member(volume, source).setdefault("defaultMode", _FILE_MODE)
    if "hostPath" in volume:
        _member(volume, "hostPath").setdefault("type", "")
    for item in _objects(_member(volume, "downwardAPI").get("items")):
        _field_reference(item)
    for projection in _objects(_member(volume, "projected").get("sources")):
        if "serviceAccountToken" in projection:
            _member(projection, "serviceAccountToken").setdefault("expirationSeconds", _TOKEN_SECONDS)
        for item in _objects(_member(projection, "downwardAPI").get("items")):
            _field_reference(item)


# apps/v1


def _template(spec: Document) -> None:
    if isinstance(template := spec.get("template"), dict):
        _pod_spec(_object(template, "spec"))


def _deployment(deployment: Document) -> None:
    spec = _object(deployment, "spec")
    for field, value in (("replicas", 1), ("revisionHistoryLimit", 10), ("progressDeadlineSeconds", 600)):
        spec.setdefault(field, value)
    strategy = _object(spec, "strategy")
    _fill(strategy, {"type": "RollingUpdate"})
    if strategy["type"] == "RollingUpdate":
        rolling = _object(strategy, "rollingUpdate")
        rolling.setdefault("maxUnavailable", "25%")
        rolling.setdefault("maxSurge", "25%")
    _template(spec)


def _replica_set(replica_set: Document) -> None:
    spec = _object(replica_set, "spec")
    spec.setdefault("replicas", 1)
    _template(spec)


# Services and their endpoints


def _service(service: Document) -> None:
    spec = _object(service, "spec")
    _fill(spec, {"type": "ClusterIP", "sessionAffinity": "None"})
    if spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    elif spec["sessionAffinity"] == "ClientIP":
        client = _object(_object(spec, "sessionAffinityConfig"), "clientIP")
        client.setdefault("timeoutSeconds", _AFFINITY_SECONDS)
    for port in _objects(spec.get("ports")):
        _fill(port, {"protocol": "TCP"})
        if port.get("targetPort") in (None, 0, "") and "port" in port:
            port["targetPort"] = port["port"]
    if spec["type"] in ("ClusterIP", "NodePort", "LoadBalancer"):
        _fill(spec, {"internalTrafficPolicy": "Cluster"})
    if is_reached_from_outside(spec):
        _fill(spec, {"externalTrafficPolicy": "Cluster"})
    if spec["type"] == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
        for ingress in _objects(_member(_member(service, "status"), "loadBalancer").get("ingress")):
            if ingress.get("ip"):
                ingress.setdefault("ipMode", "VIP")


def _endpoint_slice(endpoints: Document) -> None:
    for port in _objects(endpoints.get("ports")):
        port.setdefault("name", "")
        port.setdefault("protocol", "TCP")


def _endpoints(endpoints: Document) -> None:
    for subset in _objects(endpoints.get("subsets")):
        for port in _objects(subset.get("ports")):
            _fill(port, {"protocol": "TCP"})


# the others


def _network_policy(policy: Document) -> None:
    spec = _object(policy, "spec")
    spec.setdefault("podSelector", {})
    if not spec.get("policyTypes"):
        # left out, the policy restricts ingress, and egress only where it has rules for it
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]
    for direction in ("ingress", "egress"):
        for rule in _objects(spec.get(direction)):
            for port in _objects(rule.get("ports")):
                port.setdefault("protocol", "TCP")


def _namespace(namespace: Document) -> None:
    metadata = _object(namespace, "metadata")
    if name := metadata.get("name"):
        _object(metadata, "labels")["kubernetes.io/metadata.name"] = name


def _node(node: Document) -> None:
    spec = _member(node, "spec")
    if spec.get("podCIDR") and not spec.get("podCIDRs"):
        spec["podCIDRs"] = [spec["podCIDR"]]
    elif not spec.get("podCIDR") and spec.get("podCIDRs"):
        spec["podCIDR"] = spec["podCIDRs"][0]


def _secret(secret: Document) -> None:
    _fill(secret, {"type": "Opaque"})


def _ingress_class(ingress_class: Document) -> None:
    if parameters := _member(_member(ingress_class, "spec"), "parameters"):
        _fill(parameters, {"scope": "Cluster"})


def _ip_pool(pool: Document) -> None:
    if pool.get("spec"):
        _fill(_object(_object(pool, "spec"), "blockSize"), {"ipv4": 26, "ipv6": 122})


def _bgp_peer(peer: Document) -> None:
    if not peer.get("spec"):
        return
    spec = _object(peer, "spec")
    _fill(spec, {"peerPort": 179, "myASN": 64512, "holdTimeSeconds": 90, "gracefulRestart": True})
    if spec.get("bfd") is not None:
        _fill(_object(spec, "bfd"), {"minRxMs": 100, "minTxMs": 100, "multiplier": 3})
    if spec.get("passwordSecretRef") is not None:
        _fill(_object(spec, "passwordSecretRef"), {"key": "password"})


def _load_balancer_pool(pool: Document) -> None:
    if pool.get("spec"):
        spec = _object(pool, "spec")
        _fill(spec, {"autoAssign": True, "announce": ["Layer2", "BGP"]})
        if spec.get("bgp"):
            _fill(_object(_object(spec, "bgp"), "aggregationLength"), {"ipv4": 32, "ipv6": 128})


def _egress_gateway(gateway: Document) -> None:
    if gateway.get("spec"):
        _fill(_object(gateway, "spec"), {"whenUnavailable": "Drop"})


_KINDS: Mapping[str, Callable[[Document], None]] = {
    "apiextensions.k8s.io/v1/CustomResourceDefinition": fill_definition,
    "v1/Namespace": _namespace,
    "v1/Node": _node,
    "v1/Pod": _pod,
    "v1/Service": _service,
    "v1/Endpoints": _endpoints,
    "v1/Secret": _secret,
    "discovery.k8s.io/v1/EndpointSlice": _endpoint_slice,
    "apps/v1/Deployment": _deployment,
    "apps/v1/ReplicaSet": _replica_set,
    "networking.k8s.io/v1/NetworkPolicy": _network_policy,
    "networking.k8s.io/v1/IngressClass": _ingress_class,
    "netloom.io/v1alpha1/BGPPeer": _bgp_peer,
    "netloom.io/v1alpha1/EgressGateway": _egress_gateway,
    "netloom.io/v1alpha1/IPPool": _ip_pool,
    "netloom.io/v1alpha1/LoadBalancerPool": _load_balancer_pool,
}
