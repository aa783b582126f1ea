"""What a pod asks for in its annotation ``k8s.v1.cni.cncf.io/networks``. Pure.

In: the annotation's text and the pod's namespace. Out: a :class:`Selection` for each entry, or InvalidObject that names entry and
field. Both forms of the de-facto standard (version 1.3, section 4.1): names with commas between them, and a JSON list. Not here:
what the networks are (``definitions``), and whether the pod may have them (``isolation``).
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any

import msgspec

from netloom.api.networks import DEFAULT_NETWORK_ANNOTATION, NETWORKS_ANNOTATION
from netloom.api.nulls import without_nulls
from netloom.errors import InvalidObject
from netloom.units import Addr, ObjectKey, parse_addr

MAX_NETWORKS = 64
"""Entries of one annotation; more of them would keep a runtime waiting for longer than it does."""

_SUBDOMAIN = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_MAC = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}")
_BAD_IN_INTERFACE = re.compile(r"[/:\s]")
_IGNORED = ("infiniband-guid", "device-id", "deviceID", "ipam-claim-reference")


class PortMapping(msgspec.Struct, frozen=True, rename="camel"):
    """CNI ``portMappings``."""

    host_port: int
    container_port: int
    protocol: str = "tcp"
    host_ip: str = msgspec.field(name="hostIP", default="")


class Bandwidth(msgspec.Struct, frozen=True, rename="camel"):
    """CNI ``bandwidth``; rates in bits a second, bursts in bits."""

    ingress_rate: int = 0
    ingress_burst: int = 0
    egress_rate: int = 0
    egress_burst: int = 0


class Selection(msgspec.Struct, frozen=True):
    """One network that a pod asks for.

    ``where`` names the entry, for people. ``default_route`` None: the pod's default route stays; empty: it becomes that which the
    network itself gives. ``ignored`` are fields that mean nothing here.
    """

    network: ObjectKey
    interface: str
    where: str
    ips: tuple[str, ...] = ()
    mac: str = ""
    default_route: tuple[Addr, ...] | None = None
    cni_args: dict[str, Any] = {}
    bandwidth: Bandwidth | None = None
    port_mappings: tuple[PortMapping, ...] = ()
    ignored: tuple[str, ...] = ()

    def capabilities(self) -> dict[str, Any]:
        """Values for capabilities of plugins, by the names that the CNI conventions give them."""
        found: dict[str, Any] = {}
        if self.ips:
            found["ips"] = list(self.ips)
        if self.mac:
            found["mac"] = self.mac
        if self.bandwidth is not None:
            found["bandwidth"] = msgspec.to_builtins(self.bandwidth)
        if self.port_mappings:
            found["portMappings"] = [msgspec.to_builtins(p) for p in self.port_mappings]
        return found


class _Element(msgspec.Struct, frozen=True, rename="kebab"):
    name: str
    namespace: str = ""
    interface: str = ""
    interface_request: str = msgspec.field(name="interfaceRequest", default="")
    ips: tuple[str, ...] = ()
    mac: str = ""
    default_route: tuple[str, ...] | None = None
    cni_args: dict[str, Any] = {}
    bandwidth: Bandwidth | None = None
    port_mappings: tuple[PortMapping, ...] = msgspec.field(name="portMappings", default=())


class _At:
    """A place in an annotation, for errors."""

    def __init__(self, pod: str, annotation: str, entry: str = "") -> None:
        self.pod = pod
        self.annotation = annotation
        self.entry = entry

    def wrong(self, problem: str, hint: str = "", field: str = "") -> InvalidObject:
        """The error for a field of the entry."""
        place = f"metadata.annotations[{self.annotation}]{self.entry}{f'.{field}' if field else ''}"
        return InvalidObject(f"Pod {self.pod}", place, problem, hint)


def networks_of(text: str, *, pod: ObjectKey, primary: str = "eth0") -> tuple[Selection, ...]:
    """The networks that a pod's annotation asks for; none where it is empty.

    Interfaces without a name are ``net1``, ``net2`` ... by their place in the list, as Multus numbers them.

    Args:
        text: of the annotation.
        pod: whose.
        primary: name of the pod's first interface, which no entry may take.

    Raises:
        InvalidObject: an entry cannot be used as written.
    """
    return _read(text, pod, NETWORKS_ANNOTATION, taken={primary, "lo"}, namespace=pod.namespace)


def default_network_of(text: str, *, pod: ObjectKey, namespace: str, interface: str) -> Selection:
    """The network that a pod asks for in place of the cluster's.

    Args:
        text: of the annotation.
        pod: whose.
        namespace: of a network that is named without one (Multus: where Multus itself runs).
        interface: name of the pod's first interface, which it becomes.

    Raises:
        InvalidObject: it cannot be used as written, or names not exactly one network.
    """
    at = _At(str(pod), DEFAULT_NETWORK_ANNOTATION)
    found = _read(text, pod, DEFAULT_NETWORK_ANNOTATION, taken={"lo"}, namespace=namespace)
    if len(found) != 1:
        raise at.wrong(f"names {len(found)} networks", "name exactly one")
    return msgspec.structs.replace(found[0], interface=interface)


def _read(
    text: str, pod: ObjectKey, annotation: str, *, taken: set[str], namespace: str
) -> tuple[Selection, ...]:
    at = _At(str(pod), annotation)
    elements = _from_json(text, at) if any(c in text for c in '[{"') else _from_names(text, at)
    if len(elements) > MAX_NETWORKS:
        raise at.wrong(f"asks for {len(elements)} networks", f"ask for at most {MAX_NETWORKS}")
    found = []
    for number, (element, ignored) in enumerate(elements):
        here = _At(at.pod, annotation, f"[{number}]")
        one = _selection(element, here, namespace, f"net{number + 1}", ignored)
        if one.interface in taken:
            problem = f"{one.interface} is the name of another interface of the pod"
            raise here.wrong(problem, "give each interface a name of its own", "interface")
        taken.add(one.interface)
        found.append(one)
    return tuple(found)


def _from_names(text: str, at: _At) -> list[tuple[_Element, tuple[str, ...]]]:
    """``[namespace/]name[@interface]``, with commas between them."""
    if not text.strip():
        return []
    found: list[tuple[_Element, tuple[str, ...]]] = []
    for number, item in enumerate(text.split(",")):
        here = _At(at.pod, at.annotation, f"[{number}]")
        namespace, slash, rest = item.strip().rpartition("/")
        name, sign, interface = rest.partition("@")
        if (
            "/" in namespace
            or "@" in interface
            or (slash and not namespace)
            or (sign and not interface)
            or not name
        ):
            raise here.wrong(
                f"{item.strip()!r} is not [namespace/]name[@interface]", "such as blue, shop/blue@net1"
            )
        found.append((_Element(name.strip(), namespace.strip(), interface.strip()), ()))
    return found


def _from_json(text: str, at: _At) -> list[tuple[_Element, tuple[str, ...]]]:
    try:
        listed = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise at.wrong(
            f"is no JSON: {error}", "write names with commas between them, or a JSON list"
        ) from error
    if listed is None:
        return []
    if not isinstance(listed, list):
        raise at.wrong("is no JSON list", 'such as [{"name": "blue"}]')
    found = []
    for number, item in enumerate(listed):
        here = _At(at.pod, at.annotation, f"[{number}]")
        if not isinstance(item, dict):
            raise here.wrong("is no JSON object", 'such as {"name": "blue"}')
        try:
            element = msgspec.convert(without_nulls(item), type=_Element)
        except msgspec.ValidationError as error:
            raise here.wrong(
                str(error), "see the Network Custom Resource Definition De-facto Standard"
            ) from error
        found.append((element, tuple(field for field in _IGNORED if item.get(field))))
    return found


def _selection(
    element: _Element, here: _At, namespace: str, interface: str, ignored: tuple[str, ...]
) -> Selection:
    if not _SUBDOMAIN.fullmatch(element.name):
        raise here.wrong(
            f"{element.name!r} names no object", "lower case letters, digits, '-' and '.'", "name"
        )
    if element.namespace and not _LABEL.fullmatch(element.namespace):
        raise here.wrong(
            f"{element.namespace!r} names no namespace", "lower case letters, digits, '-'", "namespace"
        )
    wanted = element.interface or element.interface_request or interface
    if not 0 < len(wanted.encode()) < 16 or wanted in {".", ".."} or _BAD_IN_INTERFACE.search(wanted):
        raise here.wrong(
            f"{wanted!r} cannot name an interface", "1 to 15 bytes without '/', ':', spaces", "interface"
        )
    return Selection(
        network=ObjectKey(element.namespace or namespace, element.name),
        interface=wanted,
        where=f"{here.annotation}{here.entry}",
        ips=tuple(_ip(ip, here, f"ips[{i}]") for i, ip in enumerate(element.ips)),
        mac=_mac(element.mac, here),
        default_route=_gateways(element.default_route, here),
        cni_args=element.cni_args,
        bandwidth=_bandwidth(element.bandwidth, here),
        port_mappings=tuple(
            _mapping(p, here, f"portMappings[{i}]") for i, p in enumerate(element.port_mappings)
        ),
        ignored=ignored,
    )


def _ip(text: str, here: _At, field: str) -> str:
    try:
        ipaddress.ip_interface(text)
    except ValueError as error:
        raise here.wrong(f"{text!r} is no address", "such as 10.1.0.5 or 10.1.0.5/24", field) from error
    return text


def _mac(text: str, here: _At) -> str:
    if not text:
        return ""
    if not _MAC.fullmatch(text):
        raise here.wrong(f"{text!r} is no MAC address", "such as 02:23:45:67:89:01", "mac")
    if int(text[:2], 16) & 1:
        raise here.wrong(f"{text!r} is the address of a group", "the first byte must be even", "mac")
    return text.lower()


def _gateways(texts: tuple[str, ...] | None, here: _At) -> tuple[Addr, ...] | None:
    if texts is None:
        return None
    found: list[Addr] = []
    for number, text in enumerate(texts):
        address = parse_addr(text)
        field = f"default-route[{number}]"
        if address is None:
            raise here.wrong(f"{text!r} is no address", "write the gateway's address", field)
        if any(address.version == other.version for other in found):
            raise here.wrong(f"{text} is a second gateway of its family", "write one of each", field)
        found.append(address)
    return tuple(found)


def _bandwidth(bandwidth: Bandwidth | None, here: _At) -> Bandwidth | None:
    if bandwidth is not None and min(msgspec.structs.astuple(bandwidth)) < 0:
        raise here.wrong("has a negative number", "rates are bits a second, bursts bits", "bandwidth")
    return bandwidth


def _mapping(mapping: PortMapping, here: _At, field: str) -> PortMapping:
    if not (1 <= mapping.host_port <= 65535 and 1 <= mapping.container_port <= 65535):
        raise here.wrong("has a port outside 1 to 65535", "", field)
    if mapping.protocol.lower() not in {"tcp", "udp", "sctp"}:
        raise here.wrong(
            f"{mapping.protocol!r} is no protocol", "write tcp, udp or sctp", f"{field}.protocol"
        )
    if mapping.host_ip and parse_addr(mapping.host_ip) is None:
        raise here.wrong(f"{mapping.host_ip!r} is no address", "", f"{field}.hostIP")
    return msgspec.structs.replace(mapping, protocol=mapping.protocol.lower())
