"""What `kubectl get` shows of each kind: columns, and the cells of one document. Pure.

Comes in: a document and the time. Goes out: a list of cells, in the order of the columns. Not here: the Table around
them (tables.py) and the status word of pods (podcolumns.py). Source: the columns that kubectl's users know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from netloom.local.apiserver import edgecolumns, kinds, kinds_custom, podcolumns
from netloom.local.apiserver.ages import age
from netloom.local.apiserver.custom import printing
from netloom.local.apiserver.custom.served import CustomKind
from netloom.local.apiserver.definitions import Definition, definition
from netloom.local.apiserver.jsonvalue import Json
from netloom.local.apiserver.kind import Kind

Document = Mapping[str, Any]
_NONE = "<none>"


class Column(msgspec.Struct, frozen=True):
    """One column; ``priority`` 1 is shown with ``-o wide`` only (meta/v1 TableColumnDefinition)."""

    name: str
    type: str = "string"
    priority: int = 0
    format: str = ""
    description: str = ""


class Sheet(msgspec.Struct, frozen=True):
    """Columns of a kind, and the function that fills them."""

    columns: tuple[Column, ...]
    cells: Callable[[Document, float], list[Any]]


def _columns(text: str) -> tuple[Column, ...]:
    """``Name Ready:integer IP+``: a type after the colon, ``+`` for wide, ``_`` for a space."""
    columns = []
    for word in text.split():
        name, _, type_ = word.rstrip("+").partition(":")
        plain = name.replace("_", " ")
        columns.append(
            Column(plain, type_ or "string", int(word.endswith("+")), "name" if plain == "Name" else "")
        )
    return tuple(columns)


def _meta(d: Document) -> Mapping[str, Any]:
    return d["metadata"]  # type: ignore[no-any-return] # checked when it was stored


def _part(d: Document, *path: str) -> Json:
    found: Any = d
    for step in path:
        found = found.get(step) if isinstance(found, Mapping) else None
    return found


def _some(d: Document, *path: str) -> list[Any]:
    found = _part(d, *path)
    return found if isinstance(found, list) else []


def _born(d: Document, now: float) -> str:
    return age(_meta(d).get("creationTimestamp"), now)


def _short(words: Iterable[str], limit: int = 3) -> str:
    found = list(words)
    more = f" + {len(found) - limit} more..." if len(found) > limit else ""
    return ",".join(found[:limit]) + more if found else _NONE


def _selector_text(selector: Json) -> str:
    """A label selector, or a plain map of labels, as kubectl writes it."""
    if not isinstance(selector, Mapping):
        return _NONE
    plain = not ({"matchLabels", "matchExpressions"} & selector.keys())
    labels = selector if plain else selector.get("matchLabels") or {}
    terms = [f"{k}={v}" for k, v in sorted(labels.items())]
    for e in () if plain else selector.get("matchExpressions") or ():
        values = ",".join(sorted(e.get("values") or ()))
        match e.get("operator"):
            case "Exists":
                terms.append(e["key"])
            case "DoesNotExist":
                terms.append(f"!{e['key']}")
            case operator:
                terms.append(f"{e.get('key')} {str(operator).lower()} ({values})")
    return ",".join(terms) or _NONE


def _ordinary(d: Document, now: float) -> list[Any]:
    return [_meta(d)["name"], _born(d, now)]


def _namespace(d: Document, now: float) -> list[Any]:
    return [_meta(d)["name"], _part(d, "status", "phase") or "", _born(d, now)]


def _node(d: Document, now: float) -> list[Any]:
    ready = next((c for c in _some(d, "status", "conditions") if c.get("type") == "Ready"), None)
    state = "Unknown" if ready is None else "Ready" if ready.get("status") == "True" else "NotReady"
    if _part(d, "spec", "unschedulable"):
        state += ",SchedulingDisabled"
    prefix = "node-role.kubernetes.io/"
    roles = sorted(k.removeprefix(prefix) for k in _meta(d).get("labels") or {} if k.startswith(prefix))
    info = _part(d, "status", "nodeInfo") or {}
    addresses = {a.get("type"): a.get("address") for a in reversed(_some(d, "status", "addresses"))}
    return [
        _meta(d)["name"], state, ",".join(r for r in roles if r) or _NONE, _born(d, now),
        info.get("kubeletVersion", ""), addresses.get("InternalIP") or _NONE, addresses.get("ExternalIP") or _NONE,
        info.get("osImage") or "<unknown>", info.get("kernelVersion") or "<unknown>",
        info.get("containerRuntimeVersion") or "<unknown>",
    ]  # fmt: skip


def _service_ports(d: Document) -> str:
    words = []
    for port in _some(d, "spec", "ports"):
        node_port = f":{port['nodePort']}" if port.get("nodePort") else ""
        words.append(f"{port.get('port')}{node_port}/{port.get('protocol', 'TCP')}")
    return ",".join(words) or _NONE


def _external(d: Document) -> str:
    spec = d.get("spec") or {}
    given = list(spec.get("externalIPs") or ())
    match spec.get("type"):
        case "ExternalName":
            return str(spec.get("externalName") or _NONE)
        case "LoadBalancer":
            ingress = _some(d, "status", "loadBalancer", "ingress")
            given = [str(i.get("ip") or i.get("hostname") or "") for i in ingress] + given
            return ",".join(given) or "<pending>"
        case _:
            return ",".join(given) or _NONE


def _service(d: Document, now: float) -> list[Any]:
    spec = d.get("spec") or {}
    return [
        _meta(d)["name"], spec.get("type", ""), spec.get("clusterIP") or _NONE, _external(d), _service_ports(d),
        _born(d, now), _selector_text(spec.get("selector") or None),
    ]  # fmt: skip


def _endpoints(d: Document, now: float) -> list[Any]:
    found = []
    for subset in _some(d, "subsets"):
        ports = [p.get("port") for p in subset.get("ports") or ()]
        for address in subset.get("addresses") or ():
            found += [f"{address.get('ip')}:{p}" for p in ports] or [str(address.get("ip"))]
    return [_meta(d)["name"], _short(found), _born(d, now)]


def _endpoint_slice(d: Document, now: float) -> list[Any]:
    ports = [str(p.get("port") or "*") for p in _some(d, "ports")]
    addresses = [a for e in _some(d, "endpoints") for a in e.get("addresses") or ()]
    return [
        _meta(d)["name"], d.get("addressType", ""), _short(ports) if ports else "<unset>",
        _short(addresses) if addresses else "<unset>", _born(d, now),
    ]  # fmt: skip


def _data_count(d: Document) -> int:
    return len(d.get("data") or {}) + len(d.get("binaryData") or {})


def _config_map(d: Document, now: float) -> list[Any]:
    return [_meta(d)["name"], str(_data_count(d)), _born(d, now)]


def _secret(d: Document, now: float) -> list[Any]:
    return [_meta(d)["name"], d.get("type", ""), _data_count(d), _born(d, now)]


def _service_account(d: Document, now: float) -> list[Any]:
    return [_meta(d)["name"], len(_some(d, "secrets")), _born(d, now)]


def _event(d: Document, now: float) -> list[Any]:
    about = d.get("involvedObject") or {}
    source = d.get("source") or {}
    first = d.get("firstTimestamp") or d.get("eventTime")
    last = d.get("lastTimestamp") or _part(d, "series", "lastObservedTime") or first
    count = _part(d, "series", "count") or d.get("count") or 1
    where = ", ".join(
        w for w in (source.get("component") or d.get("reportingComponent"), source.get("host")) if w
    )
    return [
        age(last, now), d.get("type", ""), d.get("reason", ""),
        f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}", about.get("fieldPath", ""), where,
        str(d.get("message", "")).strip(), age(first, now), count, _meta(d)["name"],
    ]  # fmt: skip


def _lease(d: Document, now: float) -> list[Any]:
    return [_meta(d)["name"], _part(d, "spec", "holderIdentity") or "", _born(d, now)]


def _template(d: Document) -> list[str]:
    containers = _some(d, "spec", "template", "spec", "containers")
    names = ",".join(str(c.get("name", "")) for c in containers)
    images = ",".join(str(c.get("image", "")) for c in containers)
    return [names, images, _selector_text(_part(d, "spec", "selector"))]


def _count(d: Document, field: str) -> int:
    return int(_part(d, "status", field) or 0)


def _wanted(d: Document) -> int:
    replicas = _part(d, "spec", "replicas")
    return 1 if replicas is None else int(replicas)


def _deployment(d: Document, now: float) -> list[Any]:
    return [
        _meta(d)["name"], f"{_count(d, 'readyReplicas')}/{_wanted(d)}", _count(d, "updatedReplicas"),
        _count(d, "availableReplicas"), _born(d, now), *_template(d),
    ]  # fmt: skip


def _replica_set(d: Document, now: float) -> list[Any]:
    return [
        _meta(d)["name"], _wanted(d), _count(d, "replicas"), _count(d, "readyReplicas"), _born(d, now), *_template(d)
    ]  # fmt: skip


def _network_policy(d: Document, now: float) -> list[Any]:
    return [_meta(d)["name"], _selector_text(_part(d, "spec", "podSelector")), _born(d, now)]


def _cluster_network_policy(d: Document, now: float) -> list[Any]:
    priority = _part(d, "spec", "priority")
    return [
        _meta(d)["name"], _part(d, "spec", "tier") or "", "" if priority is None else str(priority), _born(d, now)
    ]  # fmt: skip


def _ip_pool(d: Document, now: float) -> list[Any]:
    cidrs = ",".join(map(str, _part(d, "spec", "cidrs") or ()))
    return [_meta(d)["name"], cidrs, str(bool(_part(d, "spec", "disabled"))).lower(), _born(d, now)]


def _ip_block(d: Document, now: float) -> list[Any]:
    parts = [_part(d, "spec", name) or "" for name in ("cidr", "node", "pool")]
    return [_meta(d)["name"], *parts, _born(d, now)]


def _load_balancer_pool(d: Document, now: float) -> list[Any]:
    texts = [str(text) for field in ("cidrs", "ranges") for text in _part(d, "spec", field) or ()]
    assigned, available = (
        sum(int(n) for n in (_part(d, "status", what) or {}).values()) for what in ("assigned", "available")
    )
    automatic = str(_part(d, "spec", "autoAssign") is not False).lower()
    return [_meta(d)["name"], ",".join(texts), automatic, assigned, available, _born(d, now)]


def _network_pool(d: Document, now: float) -> list[Any]:
    return [_meta(d)["name"], ",".join(map(str, _part(d, "spec", "cidrs") or ())), _born(d, now)]


def _network_lease(d: Document, now: float) -> list[Any]:
    holder = [_part(d, "spec", "holder", name) or "" for name in ("pod", "interface", "node")]
    parts = [_part(d, "spec", name) or "" for name in ("pool", "address")]
    return [_meta(d)["name"], *parts, *holder, _part(d, "spec", "keptUntil") or "", _born(d, now)]


def _bgp_peer(d: Document, now: float) -> list[Any]:
    parts = [_part(d, "spec", name) or "" for name in ("peerAddress", "peerASN", "myASN")]
    sessions = (_part(d, "status", "nodes") or {}).values()
    up = sum(session.get("state") == "Established" for session in sessions)
    return [_meta(d)["name"], *parts, f"{up}/{len(sessions)}", _born(d, now)]


def _egress_gateway(d: Document, now: float) -> list[Any]:
    held = _part(d, "status", "addresses") or ()
    nodes = ",".join(one.get("node") or "<none>" for one in held)
    pods = sum(one.get("pods") or 0 for one in held)
    return [_meta(d)["name"], ",".join(_part(d, "spec", "addresses") or ()), nodes, pods, _born(d, now)]


_SHEETS: dict[str, Sheet] = {
    kinds.NAMESPACES.qualified: Sheet(_columns("Name Status Age"), _namespace),
    kinds.NODES.qualified: Sheet(
        _columns(
            "Name Status Roles Age Version Internal-IP+ External-IP+ OS-Image+ Kernel-Version+ Container-Runtime+"
        ),
        _node,
    ),
    kinds.PODS.qualified: Sheet(
        _columns("Name Ready Status Restarts Age IP+ Node+ Nominated_Node+ Readiness_Gates+"),
        podcolumns.cells,
    ),
    kinds.SERVICES.qualified: Sheet(
        _columns("Name Type Cluster-IP External-IP Port(s) Age Selector+"), _service
    ),
    kinds.ENDPOINTS.qualified: Sheet(_columns("Name Endpoints Age"), _endpoints),
    kinds.ENDPOINT_SLICES.qualified: Sheet(_columns("Name AddressType Ports Endpoints Age"), _endpoint_slice),
    kinds.CONFIG_MAPS.qualified: Sheet(_columns("Name Data Age"), _config_map),
    kinds.SECRETS.qualified: Sheet(_columns("Name Type Data:integer Age"), _secret),
    kinds.SERVICE_ACCOUNTS.qualified: Sheet(_columns("Name Secrets:integer Age"), _service_account),
    kinds.EVENTS.qualified: Sheet(
        _columns("Last_Seen Type Reason Object Subobject+ Source+ Message First_Seen+ Count:integer+ Name+"),
        _event,
    ),
    kinds.LEASES.qualified: Sheet(_columns("Name Holder Age"), _lease),
    kinds.DEPLOYMENTS.qualified: Sheet(
        _columns("Name Ready Up-to-date:integer Available:integer Age Containers+ Images+ Selector+"),
        _deployment,
    ),
    kinds.REPLICA_SETS.qualified: Sheet(
        _columns("Name Desired:integer Current:integer Ready:integer Age Containers+ Images+ Selector+"),
        _replica_set,
    ),
    kinds.INGRESSES.qualified: Sheet(
        _columns("Name Class Hosts Address Ports Age"), edgecolumns.ingress_cells
    ),
    kinds.INGRESS_CLASSES.qualified: Sheet(
        _columns("Name Controller Parameters Age"), edgecolumns.ingress_class_cells
    ),
    kinds.NETWORK_POLICIES.qualified: Sheet(_columns("Name Pod-Selector Age"), _network_policy),
    kinds_custom.CLUSTER_NETWORK_POLICIES.qualified: Sheet(
        _columns("Name Tier Priority Age"), _cluster_network_policy
    ),
    kinds_custom.IP_POOLS.qualified: Sheet(_columns("Name CIDRs Disabled Age"), _ip_pool),
    kinds_custom.IP_BLOCKS.qualified: Sheet(_columns("Name CIDR Node Pool Age"), _ip_block),
    kinds_custom.BGP_PEERS.qualified: Sheet(
        _columns("Name Peer Peer_ASN:integer My_ASN:integer Established Age"), _bgp_peer
    ),
    kinds_custom.LOAD_BALANCER_POOLS.qualified: Sheet(
        _columns("Name Addresses Auto_Assign Assigned:integer Available:integer Age"), _load_balancer_pool
    ),
    kinds_custom.EGRESS_GATEWAYS.qualified: Sheet(
        _columns("Name Addresses Nodes Pods:integer Age"), _egress_gateway
    ),
    kinds_custom.NETWORK_POOLS.qualified: Sheet(_columns("Name CIDRs Age"), _network_pool),
    kinds_custom.NETWORK_LEASES.qualified: Sheet(
        _columns("Name Pool Address Pod Interface Node Kept_Until+ Age"), _network_lease
    ),
}
_ORDINARY = Sheet(_columns("Name Age"), _ordinary)


def sheet(kind: Kind) -> Sheet:
    """Columns of a kind; name and age where there is nothing more to say."""
    if isinstance(kind, CustomKind):
        shown = kind.version_data.columns
        more = (Column(c.name, c.type, c.priority, c.format, c.description) for c in shown)
        return Sheet((*_columns("Name"), *more), printing.cells(shown))
    if defined := definition(kind.gvk):
        return _defined(defined)
    return _SHEETS.get(kind.qualified, _ORDINARY)


def _defined(defined: Definition) -> Sheet:
    more = (Column(one.name, "string", one.priority) for one in defined.columns)
    return Sheet((*_columns("Name"), *more), edgecolumns.defined_cells(defined))
