"""What a runtime wants for one attachment beyond the network's configuration: ``runtimeConfig`` and ``args.cni``. Pure.

In: undecoded JSON and what CNI_ARGS said. Out: :class:`Wishes`, or a :class:`CniError` (code 7, or 4 for CNI_ARGS) that names the
field. Rules: the extension conventions of CNI (portMappings, ipRanges, bandwidth, dns, ips, mac, aliases, deviceID,
infinibandGUID; ``args.cni``; CNI_ARGS ``IP`` and ``MAC``). What we cannot do is not an error: it is passed over with a word.
Not here: giving addresses (``ipam``), opening ports and limiting bandwidth.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

import msgspec

from netloom.cni.arguments import Arguments
from netloom.cni.bandwidth import Bandwidth
from netloom.cni.codes import CniError, Code
from netloom.cni.ipam.lease import PortMapping
from netloom.program import names
from netloom.units import Addr, Cidr, Protocol, parse_addr

_T = TypeVar("_T")

_MAX_ENTRIES = 4096
"""Entries of any list; a runtime that sends more is out of its mind."""
_MAX_BITS = (1 << 63) - 1
_MAC = re.compile(r"[0-9a-f]{12}")
_MAC_FORMS = (re.compile(r"([0-9a-f]{2}:){5}[0-9a-f]{2}"), re.compile(r"([0-9a-f]{2}-){5}[0-9a-f]{2}"))
_MAC_DOTS = re.compile(r"([0-9a-f]{4}\.){2}[0-9a-f]{4}")


class AddressRange(msgspec.Struct, frozen=True):
    """Addresses that a runtime lets us choose from: from ``first`` to ``last``, both included, of ``network``."""

    network: Cidr
    first: Addr
    last: Addr

    def blocks(self) -> Iterator[Cidr]:
        """Exactly these addresses, as networks."""
        return ipaddress.summarize_address_range(self.first, self.last)


class Dns(msgspec.Struct, frozen=True):
    """What a result's ``dns`` is to say."""

    nameservers: tuple[str, ...] = ()
    domain: str = ""
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


class Wishes(msgspec.Struct, frozen=True, kw_only=True):
    """What the runtime wants for one attachment; checked."""

    addresses: tuple[Addr, ...] = ()
    """Requested ones, at most one of each family. Prefix lengths that came with them are the network's own affair."""
    ranges: tuple[AddressRange, ...] = ()
    """To be used in place of the node's, for the families that occur."""
    mac: str = ""
    """Lower case, with colons."""
    ports: tuple[PortMapping, ...] = ()
    bandwidth: Bandwidth | None = None
    dns: Dns | None = None
    words: tuple[str, ...] = ()
    """What was passed over, one sentence each."""


NOTHING_WANTED = Wishes()


class _Port(msgspec.Struct, frozen=True, rename="camel"):
    host_port: int
    container_port: int
    protocol: str = "tcp"
    host_ip: str | None = msgspec.field(name="hostIP", default=None)


class _Range(msgspec.Struct, frozen=True, rename="camel"):
    subnet: str
    range_start: str | None = None
    range_end: str | None = None
    gateway: str | None = None


class _Rates(msgspec.Struct, frozen=True, rename="camel"):
    ingress_rate: int | None = None
    ingress_burst: int | None = None
    egress_rate: int | None = None
    egress_burst: int | None = None


class _RuntimeDns(msgspec.Struct, frozen=True):
    servers: list[str] | None = None
    searches: list[str] | None = None
    options: list[str] | None = None


class CniArgs(msgspec.Struct, frozen=True):
    """``args.cni`` of a network configuration; ``labels`` and what others put there is not for us."""

    ips: list[str] | None = None
    mac: str | None = None


def read(runtime: Mapping[str, msgspec.Raw] | None, arguments: Arguments, args: CniArgs | None) -> Wishes:
    """Read and check all of it. Where several places ask for the same, runtimeConfig counts, then args.cni, then CNI_ARGS.

    Raises:
        CniError: codes 4 and 7.
    """
    if not runtime and args is None and not arguments.ips and not arguments.mac:
        return NOTHING_WANTED
    given = {name: raw for name, raw in (runtime or {}).items() if bytes(raw) != b"null"}
    return Wishes(
        addresses=_requested(given, arguments, args),
        ranges=_ranges(_decode(given, "ipRanges", list[list[_Range]])),
        mac=_mac_of(given, arguments, args),
        ports=_ports(_decode(given, "portMappings", list[_Port])),
        bandwidth=_bandwidth(_decode(given, "bandwidth", _Rates)),
        dns=_dns(_decode(given, "dns", _RuntimeDns)),
        words=tuple(_words(given)),
    )


def _decode(given: Mapping[str, msgspec.Raw], name: str, type_: type[_T]) -> _T | None:
    raw = given.get(name)
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw, type=type_)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _wrong(f"runtimeConfig.{name}", str(error)) from error


# --- addresses


def _requested(
    given: Mapping[str, msgspec.Raw], arguments: Arguments, args: CniArgs | None
) -> tuple[Addr, ...]:
    for field, texts in (
        ("runtimeConfig.ips", _decode(given, "ips", list[str])),
        ("args.cni.ips", args.ips if args is not None else None),
    ):
        if texts:
            return _addresses(texts, functools.partial(_wrong_entry, field))
    return _addresses(arguments.ips, lambda _, problem: _wrong_argument("IP", problem))


def _addresses(texts: Sequence[str], wrong: Callable[[int, str], CniError]) -> tuple[Addr, ...]:
    found: dict[int, Addr] = {}
    for i, text in enumerate(texts):
        address = parse_addr(text.partition("/")[0])
        if address is None or not _is_interface(text):
            raise wrong(i, f"{text[:80]!r} is no address; write it as 10.1.0.7, or 10.1.0.7/24")
        if address.is_unspecified or address.is_multicast or address.is_loopback:
            raise wrong(i, f"{address} cannot be a container's")
        if found.setdefault(address.version, address) != address:
            raise wrong(i, f"{address} is the second of IPv{address.version}; there is one of each family")
    return tuple(found[version] for version in sorted(found))


def _is_interface(text: str) -> bool:
    try:
        ipaddress.ip_interface(text)
    except ValueError:
        return False
    return True


def _ranges(sets: list[list[_Range]] | None) -> tuple[AddressRange, ...]:
    found: list[AddressRange] = []
    families: set[int] = set()
    for i, alternatives in enumerate(sets or ()):
        versions: set[int] = set()
        for j, told in enumerate(alternatives):
            pieces = _range(told, f"runtimeConfig.ipRanges[{i}][{j}]")
            versions.add(pieces[0].network.version)
            found += pieces
        if len(versions) > 1:
            raise _wrong(f"runtimeConfig.ipRanges[{i}]", "has both families; write one list for each")
        if versions & families:
            (version,) = versions
            raise _wrong(
                f"runtimeConfig.ipRanges[{i}]",
                f"is the second list of IPv{version}; there is one of each family",
            )
        families |= versions
    return tuple(found)


def _range(told: _Range, field: str) -> tuple[AddressRange, ...]:
    """One range, or two where the gateway lies between."""
    try:
        network: Cidr = ipaddress.ip_network(told.subnet)
    except ValueError as error:
        raise _wrong(
            f"{field}.subnet",
            f"{told.subnet[:80]!r} is no network; write it as 10.1.0.0/24, without host bits",
        ) from error
    if network.num_addresses < 4:
        raise _wrong(f"{field}.subnet", f"{network} has no address for a container")
    # As with the node's own: neither the network's address nor the first after it nor the last (IPv4: everybody's).
    first = _end(told.range_start, network, f"{field}.rangeStart") or network.network_address + 2
    last = _end(told.range_end, network, f"{field}.rangeEnd") or network.broadcast_address - 1
    if int(first) > int(last):
        raise _wrong(f"{field}.rangeStart", f"{first} comes after rangeEnd {last}")
    gateway = _end(told.gateway, network, f"{field}.gateway")
    whole = AddressRange(network, first, last)
    if gateway is None or not int(first) <= int(gateway) <= int(last):
        return (whole,)
    pieces = []
    if gateway != first:
        pieces.append(AddressRange(network, first, gateway - 1))
    if gateway != last:
        pieces.append(AddressRange(network, gateway + 1, last))
    if not pieces:
        raise _wrong(f"{field}.gateway", f"{gateway} is the only address of the range")
    return tuple(pieces)


def _end(text: str | None, network: Cidr, field: str) -> Addr | None:
    if not text:
        return None
    address = parse_addr(text)
    if address is None or address not in network:
        raise _wrong(field, f"{text[:80]!r} is no address of {network}")
    return address


# --- MAC


def _mac_of(given: Mapping[str, msgspec.Raw], arguments: Arguments, args: CniArgs | None) -> str:
    if said := _decode(given, "mac", str):
        return _mac(said, lambda problem: _wrong("runtimeConfig.mac", problem))
    if args is not None and args.mac:
        return _mac(args.mac, lambda problem: _wrong("args.cni.mac", problem))
    if arguments.mac:
        return _mac(arguments.mac, lambda problem: _wrong_argument("MAC", problem))
    return ""


def _mac(text: str, wrong: Callable[[str], CniError]) -> str:
    low = text.strip().lower()
    digits = re.sub("[:.-]", "", low)
    if not _MAC.fullmatch(digits) or not any(f.fullmatch(low) for f in (*_MAC_FORMS, _MAC_DOTS)):
        raise wrong(f"{text[:80]!r} is no MAC address; write it as 0a:58:0a:01:00:07")
    mac = ":".join(digits[i : i + 2] for i in range(0, 12, 2))
    if int(digits[:2], 16) & 1:
        raise wrong(f"{mac} is a group address; the lowest bit of its first byte must be 0")
    if mac in {"00:00:00:00:00:00", names.HOST_SIDE_MAC}:
        raise wrong(f"{mac} cannot be a container's")
    return mac


# --- ports, bandwidth, names


def _ports(told: list[_Port] | None) -> tuple[PortMapping, ...]:
    taken: set[tuple[int, str, str]] = set()
    found = []
    if told is not None and len(told) > _MAX_ENTRIES:
        raise _wrong("runtimeConfig.portMappings", f"{len(told)} entries are more than {_MAX_ENTRIES}")
    for i, port in enumerate(told or ()):
        field = f"runtimeConfig.portMappings[{i}]"
        for name, number in (("hostPort", port.host_port), ("containerPort", port.container_port)):
            if not 1 <= number <= 65535:
                raise _wrong(f"{field}.{name}", f"{number} is no port; there are 1 to 65535")
        protocol = next((p for p in Protocol if p.word == (port.protocol or "tcp").lower()), None)
        if protocol is None:
            raise _wrong(f"{field}.protocol", f"{port.protocol[:80]!r} is none of tcp, udp, sctp")
        address = parse_addr(port.host_ip) if port.host_ip else None
        if port.host_ip and address is None:
            raise _wrong(f"{field}.hostIP", f"{port.host_ip[:80]!r} is no address")
        host_ip = "" if address is None else str(address)
        key = (port.host_port, protocol.word, host_ip)
        if key in taken:
            where = f"{host_ip or 'all addresses'}, port {port.host_port}/{protocol.word}"
            raise _wrong(field, f"{where} is mapped twice")
        taken.add(key)
        found.append(PortMapping(port.host_port, port.container_port, protocol.word, host_ip))
    return tuple(found)


def _bandwidth(rates: _Rates | None) -> Bandwidth | None:
    if rates is None:
        return None
    for direction in ("ingress", "egress"):
        rate, burst = getattr(rates, f"{direction}_rate") or 0, getattr(rates, f"{direction}_burst") or 0
        for name, value in ((f"{direction}Rate", rate), (f"{direction}Burst", burst)):
            if not 0 <= value <= _MAX_BITS:
                raise _wrong(f"runtimeConfig.bandwidth.{name}", f"{value} is outside 0 to 2^63-1")
        if burst and not rate:
            raise _wrong(f"runtimeConfig.bandwidth.{direction}Burst", f"is set without {direction}Rate")
    limits = Bandwidth(
        ingress_rate=rates.ingress_rate or 0,
        ingress_burst=rates.ingress_burst or 0,
        egress_rate=rates.egress_rate or 0,
        egress_burst=rates.egress_burst or 0,
    )
    return limits if limits.ingress_rate or limits.egress_rate else None


def _dns(told: _RuntimeDns | None) -> Dns | None:
    if told is None or not (told.servers or told.searches or told.options):
        return None
    dns = Dns(tuple(told.servers or ()), "", tuple(told.searches or ()), tuple(told.options or ()))
    check_dns(dns, servers="runtimeConfig.dns.servers")
    return dns


def check_dns(dns: Dns, *, servers: str) -> None:
    """Pass where all name servers are addresses.

    Raises:
        CniError: code 7; names ``servers``, the field where they stood.
    """
    for i, text in enumerate(dns.nameservers):
        if parse_addr(text) is None:
            raise _wrong(f"{servers}[{i}]", f"{text[:80]!r} is no address")


def _words(given: Mapping[str, msgspec.Raw]) -> Iterator[str]:
    """Checked where we know what it should be, and passed over."""
    if "aliases" in given:
        yield "runtimeConfig.aliases: names come from Services, so they are not served"
    for name, what in (
        ("deviceID", "no device is handed over, the interface is a veth pair"),
        ("infinibandGUID", "the interface is no InfiniBand device"),
    ):
        if _decode(given, name, str):
            yield f"runtimeConfig.{name}: {what}"
    for name in sorted(given.keys() - _KNOWN):
        yield f"runtimeConfig.{name[:80]!r}: not known here"


_KNOWN = frozenset(
    {"portMappings", "ipRanges", "bandwidth", "dns", "ips", "mac", "aliases", "deviceID", "infinibandGUID"}
)


def _wrong(field: str, problem: str) -> CniError:
    return CniError(Code.INVALID_CONFIG, f"{field}: {problem}")


def _wrong_entry(field: str, index: int, problem: str) -> CniError:
    return _wrong(f"{field}[{index}]", problem)


def _wrong_argument(name: str, problem: str) -> CniError:
    return CniError(Code.INVALID_ENVIRONMENT, f"CNI_ARGS: {name}: {problem}")
