"""A name, as the cluster's DNS answers it to the one who asks.

Comes in: origin and name. Goes out: the names asked for in turn, and the addresses in the end. Not here: which records there
are (``model/names``), time and caches.
"""

from __future__ import annotations

import difflib

import msgspec

from netloom.api.core import Service
from netloom.model.names.records import RecordSets, RecordType
from netloom.model.provenance import Source, source_of
from netloom.model.walk.cluster import ClusterModel
from netloom.model.walk.packet import Origin, OriginKind
from netloom.model.walk.policies import without_dns
from netloom.model.walk.steps import Ending, Outcome, Stage, Step
from netloom.units import Addr, Family, ObjectKey, parse_addr

NDOTS = 5
"""``options ndots:5`` of every pod's resolv.conf (kubelet, dnsPolicy ClusterFirst): with fewer dots the search path is first."""
_MOST_ALIASES = 8
_TYPES = {Family.V4: RecordType.A, Family.V6: RecordType.AAAA}


class Answer(msgspec.Struct, frozen=True):
    """What asking came to: addresses, or an ending."""

    steps: tuple[Step, ...]
    addresses: tuple[Addr, ...] = ()
    ending: Ending | None = None


def search_names(name: str, namespace: str, domain: str) -> tuple[str, ...]:
    """The names that a pod's resolver asks for, in turn (resolv.conf(5): search, ndots); a final dot means just this one."""
    if name.endswith("."):
        return (name.removesuffix("."),)
    searched = tuple(f"{name}.{suffix}" for suffix in (f"{namespace}.svc.{domain}", f"svc.{domain}", domain))
    return (name, *searched) if name.count(".") >= NDOTS else (*searched, name)


def ask(cluster: ClusterModel, origin: Origin, name: str, families: tuple[Family, ...]) -> Answer:
    """The addresses of ``name`` for this origin, of the first of ``families`` that it has."""
    domain = cluster.facts.cluster_domain.lower().rstrip(".")
    namespace = origin.pod.namespace if origin.pod is not None else "default"
    candidates = search_names(name, namespace, domain)
    if origin.kind is not OriginKind.POD:
        return _ask_elsewhere(cluster, origin, name, candidates)
    if (ending := without_dns(cluster, origin)) is not None:
        step = Step(Stage.POLICY, origin.node, f"{name}: policies keep {origin.text} from the DNS server")
        return Answer((step,), ending=ending)
    steps: list[Step] = []
    for candidate in candidates:
        if _is_foreign(candidate, cluster, domain):
            steps.append(Step(Stage.NAME, origin.node, f"{candidate}: not of this cluster, asked upstream"))
            if not _is_meant_inside(candidate, cluster):
                return Answer(tuple(steps), ending=_known_elsewhere(candidate))
            continue
        answer = _follow(cluster, origin.node, candidate, families, domain)
        steps.extend(answer.steps)
        if answer.addresses or answer.ending is not None:
            return Answer(tuple(steps), answer.addresses, answer.ending)
    return Answer(tuple(steps), ending=_no_such_name(cluster, name, candidates, namespace, domain))


def _ask_elsewhere(cluster: ClusterModel, origin: Origin, name: str, candidates: tuple[str, ...]) -> Answer:
    """Nodes and clients outside ask other servers, which know nothing of the cluster."""
    step = Step(
        Stage.NAME, origin.node, f"{name}: asked outside; {origin.text} does not use the cluster's DNS"
    )
    known = next((c for c in candidates if c in cluster.records), None)
    if known is None:
        return Answer((step,), ending=_known_elsewhere(name))
    hint = "name the object (svc/namespace/name) or its address"
    reason = f"{known} is a name of the cluster, which only pods ask for"
    return Answer((step,), ending=Ending(Outcome.UNREACHABLE, reason, hint, cluster.names.sources(known)))


def _follow(cluster: ClusterModel, node: str, name: str, families: tuple[Family, ...], domain: str) -> Answer:
    """One name, through its aliases. Neither addresses nor ending: the resolver goes on with its next name."""
    steps: list[Step] = []
    for _ in range(_MOST_ALIASES):
        records = cluster.records.get(name)
        if records is None:
            steps.append(Step(Stage.NAME, node, f"{name}: no such name"))
            return Answer(tuple(steps))
        sources = cluster.names.sources(name)
        alias = _data(records, RecordType.CNAME)
        if not alias:
            return _addresses(node, name, records, families, sources, steps)
        steps.append(
            Step(Stage.NAME, node, f"{name}: alias of {alias[0]}", _at(sources, "spec.externalName"))
        )
        name = alias[0]
        if _is_foreign(name, cluster, domain):
            reason = f"what addresses {name} has is known outside of the cluster only"
            return Answer(
                tuple(steps), ending=Ending(Outcome.EXTERNAL, reason, "walk to one of its addresses")
            )
    reason = f"{name} is one of more than {_MOST_ALIASES} aliases in a row"
    hint = "let the ExternalName Services not name each other"
    return Answer(tuple(steps), ending=Ending(Outcome.UNREACHABLE, reason, hint, cluster.names.sources(name)))


def _addresses(
    node: str,
    name: str,
    records: RecordSets,
    families: tuple[Family, ...],
    sources: tuple[Source, ...],
    steps: list[Step],
) -> Answer:
    for family in families:
        addresses = tuple(a for text in _data(records, _TYPES[family]) if (a := parse_addr(text)) is not None)
        if addresses:
            text = f"{name}: {_TYPES[family].name} {', '.join(map(str, addresses))}"
            return Answer((*steps, Step(Stage.NAME, node, text, sources)), addresses)
    wanted = " or ".join(_TYPES[family].name for family in families)
    return Answer((*steps, Step(Stage.NAME, node, f"{name}: exists, but has no {wanted} record", sources)))


def _no_such_name(
    cluster: ClusterModel, name: str, candidates: tuple[str, ...], namespace: str, domain: str
) -> Ending:
    """Why there is no address: a Service that has none yet, or the names that are near."""
    for candidate in candidates:
        if candidate in cluster.records:
            reason = f"{candidate} exists, but has no address of the sender's family"
            return Ending(Outcome.UNREACHABLE, reason, sources=cluster.names.sources(candidate))
        labels = candidate.removesuffix(f".svc.{domain}").split(".")
        if len(labels) == 2 and candidate.endswith(f".svc.{domain}"):
            service = cluster.view.services.get(ObjectKey(labels[1], labels[0]))
            if service is not None:
                return _nameless(service)
    first, *rest = name.rstrip(".").split(".")
    wanted = rest[0] if rest else namespace
    if ObjectKey(wanted, first) in cluster.view.pods:
        hint = f"{first} is a pod, and DNS knows pods by their addresses only: write pod/{wanted}/{first}"
        return Ending(Outcome.UNREACHABLE, f"DNS knows no name {name}", hint)
    known = sorted({k.name for k in cluster.view.services if k.namespace == wanted})
    near = [f"{n}.{wanted}" for n in difflib.get_close_matches(first, known, n=3, cutoff=0.6)]
    near += sorted(str(f"{k.name}.{k.namespace}") for k in cluster.view.services if k.name == first)
    hint = f"did you mean {' or '.join(dict.fromkeys(near))}?" if near else "see kubectl get services -A"
    return Ending(Outcome.UNREACHABLE, f"DNS knows no name {name}", hint)


def _nameless(service: Service) -> Ending:
    subject = source_of("Service", service.metadata)
    if service.is_headless:
        reason = f"{subject.subject} is headless and has no ready endpoint, so it has no name"
        return Ending(
            Outcome.UNREACHABLE, reason, "look at the readiness of its pods", (subject.at("spec.clusterIP"),)
        )
    field = "spec.externalName" if service.spec.type == "ExternalName" else "spec.clusterIP"
    return Ending(
        Outcome.UNREACHABLE, f"{subject.subject} has no usable {field} yet", "", (subject.at(field),)
    )


def _known_elsewhere(name: str) -> Ending:
    reason = f"what addresses {name} has is known outside of the cluster only"
    return Ending(Outcome.EXTERNAL, reason, "walk to one of its addresses")


def _is_meant_inside(name: str, cluster: ClusterModel) -> bool:
    """A name of one label, or of a Service and a namespace that is there: upstream servers will hardly know it."""
    _, dot, rest = name.partition(".")
    return not dot or any(rest == key.name for key in cluster.view.namespaces)


def _is_foreign(name: str, cluster: ClusterModel, domain: str) -> bool:
    return name not in cluster.records and name != domain and not name.endswith(f".{domain}")


def _data(records: RecordSets, type_: RecordType) -> tuple[str, ...]:
    return next((one.data for one in records if one.type is type_), ())


def _at(sources: tuple[Source, ...], field: str) -> tuple[Source, ...]:
    return tuple(source.at(field) for source in sources)
