"""From expectations to connections that can be tried: which pods send, and to what.

Comes in: expectations, a cluster. Goes out: cases. A workload is tried from one pod on each of its nodes, and at each of a few of its
pods; everybody is one pod of every workload. Not here: what should become of a case (``predict``).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from netloom.api.core import Pod, Service
from netloom.api.selectors import from_labels
from netloom.errors import NetloomError, NotFound, UsageError
from netloom.model.routes.local_pods import given_addresses, is_finished
from netloom.model.walk.cluster import ClusterModel
from netloom.model.walk.packet import (
    AddressTarget,
    Destination,
    NameTarget,
    Origin,
    PodTarget,
    ServiceTarget,
    Target,
)
from netloom.model.walk.resolve import Start, resolve
from netloom.model.walk.targets import read_destination, read_origin, workload_of
from netloom.observe.check.expectations import Everybody, Expectation, Named, Selected
from netloom.units import Addr, Family, ObjectKey, Protocol, family_of, parse_addr

MOST_CASES = 2000
_MOST_PODS = 3
_PROTOCOLS = frozenset(Protocol.__members__)

Place = tuple[Addr, Protocol, int]
Workload = tuple[str, str, str]
"""Kind, namespace and name; a pod that nothing controls is its own."""


class Case(msgspec.Struct, frozen=True):
    """One connection to try."""

    sender: str
    """As a person calls it: ``shop/web``."""
    receiver: str
    origin: Origin
    destination: Destination
    expectation: Expectation | None = None
    """None: whatever the model says is expected."""
    is_drawn: bool = False
    """One of many that an expectation is about: a pod that would reach itself is left out."""

    @property
    def text(self) -> str:
        """Who to whom, with the pod where the sender is a workload."""
        pod = self.origin.pod
        is_said = pod is None or pod.name == self.sender.rpartition("/")[2]
        return f"{self.sender}{'' if is_said or pod is None else f' (pod {pod.name})'} -> {self.receiver}"


class Cases(msgspec.Struct, frozen=True):
    """What is to be tried, of how many."""

    cases: tuple[Case, ...]
    of: int
    """How many there would be."""


def cases_of(expectations: Sequence[Expectation], cluster: ClusterModel, most: int = MOST_CASES) -> Cases:
    """Each expectation's connections; of very many each nth.

    Raises:
        UsageError: an end cannot be read, or selects nothing; names the expectation.
        NotFound: there is no such object; names the expectation.
    """
    ends = _Ends(cluster)
    found: list[Case] = []
    for one in expectations:
        try:
            cases = list(ends.cases(one, expectations))
        except (UsageError, NotFound) as error:
            raise type(error)(f"{one.place}: {error.problem}", error.hint) from error
        if not cases:
            raise UsageError(f"{one.place}: {one.text}: that is nobody", "see kubectl get pods --show-labels")
        found += cases
    return _thinned(found, most)


def all_pairs(cluster: ClusterModel, most: int = MOST_CASES) -> Cases:
    """Every workload to every port of every other one, and to every Service, in each family; of very many each nth."""
    workloads = list(_workloads(cluster).items())
    receivers = [*_pod_receivers(workloads), *_service_receivers(cluster)]
    own = sum(receiver.workload >= 0 for receiver in receivers)
    total = len(workloads) * len(receivers) - own
    step = max(1, -(-total // most))
    while math.gcd(step, len(receivers) or 1) > 1 < step:
        step += 1  # otherwise only some of the receivers would ever be chosen
    chosen = (divmod(index, len(receivers)) for index in range(0, len(workloads) * len(receivers), step))
    cases = (
        _case(cluster, workloads, sender, receivers[number])
        for sender, number in chosen
        if receivers[number].workload != sender
    )
    return Cases(tuple(case for case in cases if case is not None), total)


def _thinned(found: list[Case], most: int) -> Cases:
    if len(found) <= most:
        return Cases(tuple(found), len(found))
    return Cases(tuple(found[index * len(found) // most] for index in range(most)), len(found))


class _Ends:
    def __init__(self, cluster: ClusterModel) -> None:
        self._cluster = cluster
        self._workloads = _workloads(cluster)
        self._known_places: dict[tuple[str, int], frozenset[Place]] = {}

    def cases(self, one: Expectation, others: Sequence[Expectation]) -> Iterator[Case]:
        for receiver, destination in self._receivers(one):
            own = self._behind(one, destination)
            for sender, origin, is_drawn in self._senders(one, others, own):
                target = destination.target
                if is_drawn and isinstance(target, PodTarget) and target.key == origin.pod:
                    continue
                yield Case(sender, receiver, origin, destination, one, is_drawn)

    def _senders(
        self, one: Expectation, others: Sequence[Expectation], own: frozenset[Workload]
    ) -> Iterator[tuple[str, Origin, bool]]:
        for end in one.senders:
            match end:
                case Named(text):
                    origin = read_origin(text, self._cluster, one.namespace)
                    for pod in self._alike(origin):
                        yield text, pod, False
                case Selected():
                    for pods in self._selected(end).values():
                        for one_pod in spread(pods):
                            yield str(one_pod.key), self._origin(one_pod), True
                case Everybody():
                    named = self._named_elsewhere(one, others) if end.other else frozenset()
                    for workload, pods in self._workloads.items():
                        if workload not in named and workload not in own:
                            yield name_of(workload), self._origin(pods[0]), True

    def _receivers(self, one: Expectation) -> Iterator[tuple[str, Destination]]:
        for end in one.receivers:
            if isinstance(end, Named):
                destination = read_destination(end.text, self._cluster, one.namespace)
                yield from ((end.text, each) for each in self._each(destination))
            elif isinstance(end, Selected):
                for pods in self._selected(end).values():
                    for pod in spread(pods):
                        text = f"pod/{pod.key}:{end.port}"
                        yield f"{pod.key}:{end.port}", read_destination(text, self._cluster)

    def _behind(self, one: Expectation, destination: Destination) -> frozenset[Workload]:
        """The workloads that a receiver consists of: nobody else to themselves."""
        target = destination.target
        if isinstance(target, PodTarget):
            return frozenset((workload_key(self._cluster.view.pods[target.key]),))
        service = self._service(one, target)
        selector = None if service is None else service.spec.selector
        if not selector or service is None:
            return frozenset()
        namespace, chosen = service.metadata.namespace, from_labels(selector)
        return frozenset(
            workload
            for workload, pods in self._workloads.items()
            if workload[1] == namespace and any(chosen.matches(pod.metadata.labels) for pod in pods)
        )

    def _service(self, one: Expectation, target: Target) -> Service | None:
        services = self._cluster.view.services
        if isinstance(target, ServiceTarget):
            return services.get(target.key)
        if isinstance(target, NameTarget):
            name, _, rest = target.name.partition(".")
            return services.get(ObjectKey(rest.partition(".")[0] or one.namespace, name))
        return self._cluster.service_with(target.address) if isinstance(target, AddressTarget) else None

    def _named_elsewhere(self, one: Expectation, others: Sequence[Expectation]) -> frozenset[Workload]:
        """Workloads that other expectations, or others of its own ends, name as senders to one of its receivers."""
        mine = self._places(one)
        found: set[Workload] = set()
        for other in others:
            if mine.isdisjoint(self._places(other)):
                continue
            for end in other.senders:
                if isinstance(end, Named):
                    origin = read_origin(end.text, self._cluster, other.namespace)
                    pod = self._cluster.view.pods.get(origin.pod) if origin.pod is not None else None
                    found |= {workload_key(pod)} if pod is not None else set()
                elif isinstance(end, Selected):
                    found |= self._selected(end).keys()
        return frozenset(found)

    def _places(self, one: Expectation) -> frozenset[Place]:
        """What a pod would connect to: two ways to write the same receiver are the same."""
        key = (one.file, one.number)
        if key not in self._known_places:
            anybody = next((self._origin(pods[0]) for pods in self._workloads.values()), None)
            starts = [
                start
                for _, destination in self._receivers(one)
                if anybody is not None
                for start in resolve(self._cluster, anybody, destination)
            ]
            packets = [start.packet for start in starts if isinstance(start, Start)]
            self._known_places[key] = frozenset((p.destination, p.protocol, p.port) for p in packets)
        return self._known_places[key]

    def _selected(self, end: Selected) -> dict[Workload, list[Pod]]:
        found: dict[Workload, list[Pod]] = {}
        for workload, pods in self._workloads.items():
            fitting = [pod for pod in pods if self._is_selected(end, pod)]
            if fitting:
                found[workload] = fitting
        if not found:
            raise UsageError(f"{end}: selects no running pod", "see kubectl get pods -A --show-labels")
        return found

    def _is_selected(self, end: Selected, pod: Pod) -> bool:
        if end.namespace and end.namespace != pod.metadata.namespace:
            return False
        if end.namespaces is not None:
            namespace = self._cluster.view.namespaces.get(ObjectKey("", pod.metadata.namespace))
            labels = {} if namespace is None else namespace.metadata.labels
            if not end.namespaces.matches({**labels, "kubernetes.io/metadata.name": pod.metadata.namespace}):
                return False
        return end.pods.matches(pod.metadata.labels)

    def _alike(self, origin: Origin) -> list[Origin]:
        """Where a pod stands for its workload: one on each node."""
        if origin.pod is None or not origin.note:
            return [origin]
        return [self._origin(pod) for pod in spread(self._siblings(origin.pod))] or [origin]

    def _each(self, destination: Destination) -> list[Destination]:
        target = destination.target
        if not isinstance(target, PodTarget) or not target.note:
            return [destination]
        pods = spread(self._siblings(target.key))
        return [msgspec.structs.replace(destination, target=PodTarget(pod.key)) for pod in pods] or [
            destination
        ]

    def _siblings(self, key: ObjectKey) -> Sequence[Pod]:
        return self._workloads.get(workload_key(self._cluster.view.pods[key]), ())

    def _origin(self, pod: Pod) -> Origin:
        return read_origin(f"pod/{pod.key}", self._cluster)


def spread(pods: Iterable[Pod]) -> list[Pod]:
    """A few of these: one of each node before a second one of any."""
    by_node: dict[str, list[Pod]] = {}
    for pod in pods:
        by_node.setdefault(pod.spec.node_name, []).append(pod)
    return [group[0] for group in by_node.values()][:_MOST_PODS]


def workload_key(pod: Pod) -> Workload:
    """What controls a pod, or the pod."""
    kind, name = workload_of(pod)
    return (kind or "Pod", pod.metadata.namespace, name or pod.metadata.name)


def name_of(workload: Workload) -> str:
    """``shop/web``."""
    return f"{workload[1]}/{workload[2]}"


def _workloads(cluster: ClusterModel) -> dict[Workload, list[Pod]]:
    """Pods that run and have a network of their own, by what controls them; ready ones first."""
    found: dict[Workload, list[Pod]] = {}
    pods = sorted(cluster.view.pods.values(), key=lambda pod: (not pod.is_ready, pod.key))
    for pod in pods:
        is_away = pod.spec.host_network or is_finished(pod) or pod.metadata.deletion_timestamp
        if not is_away and given_addresses(pod):
            found.setdefault(workload_key(pod), []).append(pod)
    return dict(sorted(found.items()))


class _Receiver(NamedTuple):
    """A port of a workload, or of a Service."""

    workload: int
    """Which of the workloads; -1 for a Service."""
    text: str
    """Of a workload: the port alone."""
    family: Family | None = None
    """A further one, besides that which comes first anyway."""
    service: ObjectKey | None = None
    """Where it is a Service in a further family."""


_Workloads = list[tuple[Workload, list[Pod]]]


def _pod_receivers(workloads: _Workloads) -> Iterator[_Receiver]:
    for number, (_, pods) in enumerate(workloads):
        ports = {(p.container_port, p.protocol): None for c in pods[0].spec.containers for p in c.ports}
        further = _further([text for _, text in given_addresses(pods[0])])
        for port, protocol in ports:
            if protocol in _PROTOCOLS and 0 < port < 65536:
                for family in (None, *further):
                    yield _Receiver(number, f"{port}/{protocol.lower()}", family)


def _service_receivers(cluster: ClusterModel) -> Iterator[_Receiver]:
    for key, service in sorted(cluster.view.services.items()):
        if service.spec.type != "ExternalName" and service.spec.selector:
            further = () if service.is_headless else _further(service.spec.cluster_ips)
            for port in service.spec.ports:
                yield _Receiver(-1, f"svc/{key}:{port.port}/{port.protocol.lower()}")
                for family in further:
                    yield _Receiver(-1, f"{port.port}/{port.protocol.lower()}", family, key)


def _further(texts: Sequence[str]) -> tuple[Family, ...]:
    """The families of all but the first of these addresses."""
    families = dict.fromkeys(family_of(a) for text in texts if (a := parse_addr(text)) is not None)
    return tuple(families)[1:]


def _at(texts: Iterable[str], family: Family) -> str:
    """The address of this family, as a destination begins; empty where there is none."""
    found = next(
        (a for text in texts if (a := parse_addr(text)) is not None and family_of(a) is family), None
    )
    if found is None:
        return ""
    return f"[{found}]" if family is Family.V6 else str(found)


def _case(cluster: ClusterModel, workloads: _Workloads, sender: int, receiver: _Receiver) -> Case | None:
    """Pods are taken in turn, so that some pairs are on one node and some are not; None for what cannot be named, and so not be tried."""
    workload, pods = workloads[sender]
    text = shown = receiver.text
    family = receiver.family
    if receiver.workload >= 0:
        other, targets = workloads[receiver.workload]
        target = targets[(sender + receiver.workload) % len(targets)]
        host = _at((given for _, given in given_addresses(target)), family) if family else f"pod/{target.key}"
        text = f"{host}:{receiver.text}"
        shown = f"{name_of(other)}:{receiver.text}"
    elif family is not None and receiver.service is not None:
        host = _at(cluster.view.services[receiver.service].spec.cluster_ips, family)
        text, shown = f"{host}:{receiver.text}", f"svc/{receiver.service}:{receiver.text}"
    if family is not None:
        shown += f" by {family.address_type}"
    pod = pods[(max(receiver.workload, 0)) % len(pods)]
    try:
        origin = read_origin(f"pod/{pod.key}", cluster)
        return Case(name_of(workload), shown, origin, read_destination(text, cluster), is_drawn=True)
    except NetloomError:
        return None
