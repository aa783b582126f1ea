"""Ports of this node that pods ask for, as frontends with one backend.

Comes in: one Pod, or a container that is no pod, and what the node is. Goes out: frontends of the kind ``HOST_PORT``, and Findings. Not
here: who wins where several ask for one port (``model/network.py`` decides: a Service's NodePort, then the older pod).

What is read (core/v1 ContainerPort, ``hostPort``, ``hostIP``, ``protocol``): the ports of containers, and of init containers that run
as long as the pod does. A pod has them from when it has an address until that is taken from it, ready or not. ``hostIP`` says where:
absent means all of the node's addresses, 0.0.0.0 and :: all of one family, a loopback address only the node itself. An address that
the node does not have is nobody's to take: the kernel is asked at each packet. A given address comes before all addresses.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from netloom.api.core import ContainerPort, Pod
from netloom.model.attachments import CONTAINER, PlainAttachment
from netloom.model.claims import Seniority, Standing, seniority
from netloom.model.inputs import NodeFacts
from netloom.model.provenance import Finding, Source, source_of
from netloom.model.routes.local_pods import given_addresses, is_finished
from netloom.model.services.frontends import Backend, Frontend, FrontendAction, FrontendKey, FrontendKind
from netloom.model.services.ports import is_port, read_protocol
from netloom.model.services.ranges import Ranges
from netloom.model.services.texts import read_address
from netloom.units import Addr, Family, ObjectKey, ServicePortKey, family_of, parse_addr


class HostPorts(msgspec.Struct, frozen=True):
    """What one pod asks for. No two frontends have the same key."""

    frontends: tuple[Frontend, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def claimed(self) -> dict[FrontendKey, Frontend]:
        """The frontends by where they are."""
        return {frontend.key: frontend for frontend in self.frontends}

    @property
    def given(self) -> tuple[FrontendKey, ...]:
        """Those at one address of the node alone."""
        return tuple(frontend.key for frontend in self.frontends if frontend.key.address is not None)


_NOTHING = HostPorts()


class _Wanted(msgspec.Struct, frozen=True, gc=False):
    """One entry of ``ports``, and where it stands."""

    field: str
    port: ContainerPort


def pod_rank(pod: Pod) -> Seniority:
    """The place of a pod among those that ask for one port: below all Services."""
    is_leaving = pod.metadata.deletion_timestamp is not None
    return seniority(pod.metadata, Standing.LEAVING_HOST_PORT if is_leaving else Standing.HOST_PORT)


def attachment_rank(attachment: PlainAttachment) -> Seniority:
    """The place of a container that is no pod: below all that the cluster knows."""
    return Seniority(Standing.MAPPED_PORT, False, "", "", attachment.name)


def overlaps(held: Mapping[FrontendKey, Frontend], given: Iterable[FrontendKey]) -> Iterator[Finding]:
    """Where a host port of ``given``, which asks for one of the node's addresses, is in the way of one that asks for all.

    Found at the pod that loses the address; at the one that gets it where the other is a Service, whose findings are of all nodes.
    """
    for key in given:
        alone = held.get(key)
        other = held.get(FrontendKey(key.family, None, key.protocol, key.port))
        if alone is None or alone.kind is not FrontendKind.HOST_PORT or other is None:
            continue
        hint = "give one of the two another port"
        if other.kind is not FrontendKind.HOST_PORT:
            problem = f"takes {key} from {other.source.subject} ({other.source.field})"
            yield Finding(alone.source, problem, hint)
        elif other.source.subject != alone.source.subject:
            problem = f"{key} belongs to {alone.source.subject}, which asks for this address alone (hostIP)"
            yield Finding(other.source, problem, hint)


class HostPortReader:
    """Reads host ports for one node."""

    def __init__(self, facts: NodeFacts) -> None:
        self._node = facts.name
        self._cluster = Ranges((*facts.cluster_cidrs, *facts.pod_cidrs, *facts.service_cidrs))

    def of_pod(self, pod: Pod) -> HostPorts:
        """The ports of the node that lead to a pod.

        None of a pod elsewhere, of one that has finished, and of hostNetwork pods: these have the node's ports themselves.
        """
        spec = pod.spec
        if spec.node_name != self._node or spec.host_network or is_finished(pod):
            return _NOTHING
        wanted = list(_wanted(pod))
        if not wanted:
            return _NOTHING
        addresses = [address for _, text in given_addresses(pod) if (address := parse_addr(text)) is not None]
        return self._read(source_of("Pod", pod.metadata), pod.key, addresses, wanted)

    def of_attachment(self, attachment: PlainAttachment) -> HostPorts:
        """The ports of the node that lead to a container that is no pod."""
        wanted = [
            _Wanted(
                f"runtimeConfig.portMappings[{index}]",
                ContainerPort(
                    container_port=one.container_port,
                    protocol=one.protocol.upper(),
                    host_port=one.host_port,
                    host_ip=one.host_ip,
                ),
            )
            for index, one in enumerate(attachment.ports)
        ]
        subject = Source(CONTAINER, "", attachment.name)
        return self._read(subject, ObjectKey("", attachment.name), attachment.addresses, wanted)

    def _read(
        self, subject: Source, owner: ObjectKey, addresses: Iterable[Addr], wanted: Iterable[_Wanted]
    ) -> HostPorts:
        own: dict[Family, Addr] = {}
        for address in addresses:
            own.setdefault(family_of(address), address)
        frontends: dict[FrontendKey, Frontend] = {}
        findings: list[Finding] = []
        for one in wanted:
            protocol = read_protocol(one.port.protocol)
            places = self._places(one.port.host_ip)
            if protocol is None:
                problem = f'"{one.port.protocol}" is no protocol'
                findings.append(Finding(subject.at(f"{one.field}.protocol"), problem, "use TCP, UDP or SCTP"))
            elif trouble := _port_trouble(one.port):
                field, problem = trouble
                findings.append(Finding(subject.at(f"{one.field}.{field}"), problem, "use 1 to 65535"))
            elif isinstance(places, str):
                hint = "use an address of the node, or leave it out for all of them"
                findings.append(Finding(subject.at(f"{one.field}.hostIP"), places, hint))
            else:
                source = subject.at(f"{one.field}.hostPort")
                for family, place in places:
                    if family not in own:
                        continue
                    key = FrontendKey(family, place, protocol, one.port.host_port)
                    backend = Backend(own[family], one.port.container_port, self._node, owner)
                    made = _frontend(key, backend, ServicePortKey(owner, one.port.name, protocol), source)
                    first = frontends.setdefault(key, made)
                    if first is not made:
                        problem = f"{key} repeats {first.source.field}"
                        findings.append(Finding(source, problem, "the first one counts; remove this one"))
        return HostPorts(tuple(frontends.values()), tuple(findings))

    def _places(self, text: str) -> list[tuple[Family, Addr | None]] | str:
        """Family and address of each frontend, None for all of the node's; or what is wrong with ``hostIP``."""
        if not text:
            return [(family, None) for family in Family]
        address = parse_addr(text)
        if address is None:
            return f'"{text}" is no IP address: not served'
        family = family_of(address)
        if address.is_unspecified or address.is_loopback:
            return [(family, None if address.is_unspecified else address)]
        if isinstance(read := read_address(text), str):
            return f"{read}: not served"
        cidr = self._cluster.holder(family, read[1])
        if cidr is not None:
            return f"{text} lies in {cidr}, a range of the cluster: not served"
        return [(family, address)]


def _wanted(pod: Pod) -> Iterator[_Wanted]:
    """All entries with a ``hostPort``, of whatever runs as long as the pod does."""
    spec = pod.spec
    kinds = (("containers", spec.containers), ("initContainers", spec.init_containers))
    for kind, containers in kinds:
        for index, container in enumerate(containers):
            if kind == "initContainers" and container.restart_policy != "Always":
                continue
            for number, port in enumerate(container.ports):
                if port.host_port:
                    yield _Wanted(f"spec.{kind}[{index}].ports[{number}]", port)


def _port_trouble(port: ContainerPort) -> tuple[str, str] | None:
    """Field and problem of a number that is no port."""
    for field, number in (("hostPort", port.host_port), ("containerPort", port.container_port)):
        if not is_port(number):
            return field, f"{number} is no port: not served"
    return None


def _frontend(key: FrontendKey, backend: Backend, port: ServicePortKey, source: Source) -> Frontend:
    is_loopback = key.address is not None and key.address.is_loopback
    return Frontend(
        key=key,
        kind=FrontendKind.HOST_PORT,
        service_port=port,
        action=FrontendAction.NODE_LOCAL if is_loopback else FrontendAction.BALANCE,
        backends=(backend,),
        masquerade=False,
        source=source,
    )
