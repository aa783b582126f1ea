"""What `kubectl get` shows of each kind: columns, and the cells of one document. Pure.

Comes in: a document and the time. Goes out: a list of cells, in the order of the columns. Not here: the Table around
them (tables.py) and the status word of pods (podcolumns.py). Source: the columns that kubectl's users know.
"""

from __future__ import annotations

from typing import Any

from netloom.local.apiserver import (
    edgecolumns,
    furthercolumns,
    kinds,
    kinds_custom,
    podcolumns,
    workloadcolumns,
)
from netloom.local.apiserver.ages import age
from netloom.local.apiserver.cells import (
    NONE,
    Column,
    Document,
    Sheet,
    born,
    columns,
    count,
    meta,
    ordinary,
    part,
    selector_text,
    short,
    some,
    template,
    wanted,
)
from netloom.local.apiserver.custom import printing
from netloom.local.apiserver.custom.served import CustomKind
from netloom.local.apiserver.definitions import Definition, definition
from netloom.local.apiserver.faces import as_kept
from netloom.local.apiserver.kind import Kind


def _namespace(d: Document, now: float) -> list[Any]:
    return [meta(d)["name"], part(d, "status", "phase") or "", born(d, now)]


def _node(d: Document, now: float) -> list[Any]:
    ready = next((c for c in some(d, "status", "conditions") if c.get("type") == "Ready"), None)
    state = "Unknown" if ready is None else "Ready" if ready.get("status") == "True" else "NotReady"
    if part(d, "spec", "unschedulable"):
        state += ",SchedulingDisabled"
    prefix = "node-role.kubernetes.io/"
    roles = sorted(k.removeprefix(prefix) for k in meta(d).get("labels") or {} if k.startswith(prefix))
    info = part(d, "status", "nodeInfo") or {}
    addresses = {a.get("type"): a.get("address") for a in reversed(some(d, "status", "addresses"))}
    return [
        meta(d)["name"], state, ",".join(r for r in roles if r) or NONE, born(d, now),
        info.get("kubeletVersion", ""), addresses.get("InternalIP") or NONE, addresses.get("ExternalIP") or NONE,
        info.get("osImage") or "<unknown>", info.get("kernelVersion") or "<unknown>",
        info.get("containerRuntimeVersion") or "<unknown>",
    ]  # fmt: skip


def _service_ports(d: Document) -> str:
    words = []
    for port in some(d, "spec", "ports"):
        node_port = f":{port['nodePort']}" if port.get("nodePort") else ""
        words.append(f"{port.get('port')}{node_port}/{port.get('protocol', 'TCP')}")
    return ",".join(words) or NONE


def _external(d: Document) -> str:
    spec = d.get("spec") or {}
    given = list(spec.get("externalIPs") or ())
    match spec.get("type"):
        case "ExternalName":
            return str(spec.get("externalName") or NONE)
        case "LoadBalancer":
            ingress = some(d, "status", "loadBalancer", "ingress")
            given = [str(i.get("ip") or i.get("hostname") or "") for i in ingress] + given
            return ",".join(given) or "<pending>"
        case _:
            return ",".join(given) or NONE


def _service(d: Document, now: float) -> list[Any]:
    spec = d.get("spec") or {}
    return [
        meta(d)["name"], spec.get("type", ""), spec.get("clusterIP") or NONE, _external(d), _service_ports(d),
        born(d, now), selector_text(spec.get("selector") or None),
    ]  # fmt: skip


def _endpoints(d: Document, now: float) -> list[Any]:
    found = []
    for subset in some(d, "subsets"):
        ports = [p.get("port") for p in subset.get("ports") or ()]
        for address in subset.get("addresses") or ():
            found += [f"{address.get('ip')}:{p}" for p in ports] or [str(address.get("ip"))]
    return [meta(d)["name"], short(found), born(d, now)]


def _endpoint_slice(d: Document, now: float) -> list[Any]:
    ports = [str(p.get("port") or "*") for p in some(d, "ports")]
    addresses = [a for e in some(d, "endpoints") for a in e.get("addresses") or ()]
    return [
        meta(d)["name"], d.get("addressType", ""), short(ports) if ports else "<unset>",
        short(addresses) if addresses else "<unset>", born(d, now),
    ]  # fmt: skip


def _data_count(d: Document) -> int:
    return len(d.get("data") or {}) + len(d.get("binaryData") or {})


def _config_map(d: Document, now: float) -> list[Any]:
    return [meta(d)["name"], str(_data_count(d)), born(d, now)]


def _secret(d: Document, now: float) -> list[Any]:
    return [meta(d)["name"], d.get("type", ""), _data_count(d), born(d, now)]


def _service_account(d: Document, now: float) -> list[Any]:
    return [meta(d)["name"], len(some(d, "secrets")), born(d, now)]


def _event(d: Document, now: float) -> list[Any]:
    if "regarding" in d:  # events.k8s.io/v1
        d = as_kept(kinds.NEW_EVENTS, d)
    about = d.get("involvedObject") or {}
    source = d.get("source") or {}
    first = d.get("firstTimestamp") or d.get("eventTime")
    last = d.get("lastTimestamp") or part(d, "series", "lastObservedTime") or first
    count = part(d, "series", "count") or d.get("count") or 1
    where = ", ".join(
        w for w in (source.get("component") or d.get("reportingComponent"), source.get("host")) if w
    )
    return [
        age(last, now), d.get("type", ""), d.get("reason", ""),
        f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}", about.get("fieldPath", ""), where,
        str(d.get("message", "")).strip(), age(first, now), count, meta(d)["name"],
    ]  # fmt: skip


def _lease(d: Document, now: float) -> list[Any]:
    return [meta(d)["name"], part(d, "spec", "holderIdentity") or "", born(d, now)]


def _deployment(d: Document, now: float) -> list[Any]:
    return [
        meta(d)["name"], f"{count(d, 'readyReplicas')}/{wanted(d)}", count(d, "updatedReplicas"),
        count(d, "availableReplicas"), born(d, now), *template(d),
    ]  # fmt: skip


def _replica_set(d: Document, now: float) -> list[Any]:
    return [
        meta(d)["name"], wanted(d), count(d, "replicas"), count(d, "readyReplicas"), born(d, now), *template(d)
    ]  # fmt: skip


def _network_policy(d: Document, now: float) -> list[Any]:
    return [meta(d)["name"], selector_text(part(d, "spec", "podSelector")), born(d, now)]


def _cluster_network_policy(d: Document, now: float) -> list[Any]:
    priority = part(d, "spec", "priority")
    return [
        meta(d)["name"], part(d, "spec", "tier") or "", "" if priority is None else str(priority), born(d, now)
    ]  # fmt: skip


def _ip_pool(d: Document, now: float) -> list[Any]:
    cidrs = ",".join(map(str, part(d, "spec", "cidrs") or ()))
    return [meta(d)["name"], cidrs, str(bool(part(d, "spec", "disabled"))).lower(), born(d, now)]


def _ip_block(d: Document, now: float) -> list[Any]:
    parts = [part(d, "spec", name) or "" for name in ("cidr", "node", "pool")]
    return [meta(d)["name"], *parts, born(d, now)]


def _load_balancer_pool(d: Document, now: float) -> list[Any]:
    texts = [str(text) for field in ("cidrs", "ranges") for text in part(d, "spec", field) or ()]
    assigned, available = (
        sum(int(n) for n in (part(d, "status", what) or {}).values()) for what in ("assigned", "available")
    )
    automatic = str(part(d, "spec", "autoAssign") is not False).lower()
    return [meta(d)["name"], ",".join(texts), automatic, assigned, available, born(d, now)]


def _network_pool(d: Document, now: float) -> list[Any]:
    return [meta(d)["name"], ",".join(map(str, part(d, "spec", "cidrs") or ())), born(d, now)]


def _network_lease(d: Document, now: float) -> list[Any]:
    holder = [part(d, "spec", "holder", name) or "" for name in ("pod", "interface", "node")]
    parts = [part(d, "spec", name) or "" for name in ("pool", "address")]
    return [meta(d)["name"], *parts, *holder, part(d, "spec", "keptUntil") or "", born(d, now)]


def _bgp_peer(d: Document, now: float) -> list[Any]:
    parts = [part(d, "spec", name) or "" for name in ("peerAddress", "peerASN", "myASN")]
    sessions = (part(d, "status", "nodes") or {}).values()
    up = sum(session.get("state") == "Established" for session in sessions)
    return [meta(d)["name"], *parts, f"{up}/{len(sessions)}", born(d, now)]


def _egress_gateway(d: Document, now: float) -> list[Any]:
    held = part(d, "status", "addresses") or ()
    nodes = ",".join(one.get("node") or "<none>" for one in held)
    pods = sum(one.get("pods") or 0 for one in held)
    return [meta(d)["name"], ",".join(part(d, "spec", "addresses") or ()), nodes, pods, born(d, now)]


_SHEETS: dict[str, Sheet] = {
    kinds.NAMESPACES.qualified: Sheet(columns("Name Status Age"), _namespace),
    kinds.NODES.qualified: Sheet(
        columns(
            "Name Status Roles Age Version Internal-IP+ External-IP+ OS-Image+ Kernel-Version+ Container-Runtime+"
        ),
        _node,
    ),
    kinds.PODS.qualified: Sheet(
        columns("Name Ready Status Restarts Age IP+ Node+ Nominated_Node+ Readiness_Gates+"),
        podcolumns.cells,
    ),
    kinds.SERVICES.qualified: Sheet(
        columns("Name Type Cluster-IP External-IP Port(s) Age Selector+"), _service
    ),
    kinds.ENDPOINTS.qualified: Sheet(columns("Name Endpoints Age"), _endpoints),
    kinds.ENDPOINT_SLICES.qualified: Sheet(columns("Name AddressType Ports Endpoints Age"), _endpoint_slice),
    kinds.CONFIG_MAPS.qualified: Sheet(columns("Name Data Age"), _config_map),
    kinds.SECRETS.qualified: Sheet(columns("Name Type Data:integer Age"), _secret),
    kinds.SERVICE_ACCOUNTS.qualified: Sheet(columns("Name Secrets:integer Age"), _service_account),
    kinds.EVENTS.qualified: Sheet(
        columns("Last_Seen Type Reason Object Subobject+ Source+ Message First_Seen+ Count:integer+ Name+"),
        _event,
    ),
    kinds.LEASES.qualified: Sheet(columns("Name Holder Age"), _lease),
    kinds.DEPLOYMENTS.qualified: Sheet(
        columns("Name Ready Up-to-date:integer Available:integer Age Containers+ Images+ Selector+"),
        _deployment,
    ),
    kinds.REPLICA_SETS.qualified: Sheet(
        columns("Name Desired:integer Current:integer Ready:integer Age Containers+ Images+ Selector+"),
        _replica_set,
    ),
    kinds.INGRESSES.qualified: Sheet(
        columns("Name Class Hosts Address Ports Age"), edgecolumns.ingress_cells
    ),
    kinds.INGRESS_CLASSES.qualified: Sheet(
        columns("Name Controller Parameters Age"), edgecolumns.ingress_class_cells
    ),
    kinds.NETWORK_POLICIES.qualified: Sheet(columns("Name Pod-Selector Age"), _network_policy),
    kinds_custom.CLUSTER_NETWORK_POLICIES.qualified: Sheet(
        columns("Name Tier Priority Age"), _cluster_network_policy
    ),
    kinds_custom.IP_POOLS.qualified: Sheet(columns("Name CIDRs Disabled Age"), _ip_pool),
    kinds_custom.IP_BLOCKS.qualified: Sheet(columns("Name CIDR Node Pool Age"), _ip_block),
    kinds_custom.BGP_PEERS.qualified: Sheet(
        columns("Name Peer Peer_ASN:integer My_ASN:integer Established Age"), _bgp_peer
    ),
    kinds_custom.LOAD_BALANCER_POOLS.qualified: Sheet(
        columns("Name Addresses Auto_Assign Assigned:integer Available:integer Age"), _load_balancer_pool
    ),
    kinds_custom.EGRESS_GATEWAYS.qualified: Sheet(
        columns("Name Addresses Nodes Pods:integer Age"), _egress_gateway
    ),
    kinds_custom.NETWORK_POOLS.qualified: Sheet(columns("Name CIDRs Age"), _network_pool),
    kinds_custom.NETWORK_LEASES.qualified: Sheet(
        columns("Name Pool Address Pod Interface Node Kept_Until+ Age"), _network_lease
    ),
    **workloadcolumns.SHEETS,
    **furthercolumns.SHEETS,
}
_ORDINARY = Sheet(columns("Name Age"), ordinary)


def sheet(kind: Kind) -> Sheet:
    """Columns of a kind; name and age where there is nothing more to say."""
    if isinstance(kind, CustomKind):
        shown = kind.version_data.columns
        more = (Column(c.name, c.type, c.priority, c.format, c.description) for c in shown)
        return Sheet((*columns("Name"), *more), printing.cells(shown))
    if defined := definition(kind.gvk):
        return _defined(defined)
    return _SHEETS.get(kind.qualified, _ORDINARY)


def _defined(defined: Definition) -> Sheet:
    more = (Column(one.name, "string", one.priority) for one in defined.columns)
    return Sheet((*columns("Name"), *more), edgecolumns.defined_cells(defined))
