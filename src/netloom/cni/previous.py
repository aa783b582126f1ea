"""Results of earlier plugins: ``prevResult`` read in whatever version it was written, and results joined. Pure.

In: undecoded JSON. Out: :class:`PreviousResult`, which keeps every key that came, also those that we do not know; and the JSON
document of a result in the shape of a version. Rules: the result types of the CNI specification, 0.1.0 to 1.1.0. Not here: what
our own interface is (``attach``), and errors and other answers (``result``).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from netloom.cni.capabilities import Dns
from netloom.cni.codes import CniError, Code
from netloom.cni.versions import VERSIONS, is_older
from netloom.program.links import Interface

Entry = dict[str, Any]

_SINCE_1_1 = {
    "interfaces": ("mtu", "socketPath", "pciID"),
    "routes": ("mtu", "advmss", "priority", "table", "scope"),
}
"""Keys of entries that older versions do not have."""
_FIRST_VERSIONS = ("0.1.0", "0.2.0")
_OF_A_RESULT = frozenset({"cniVersion", "interfaces", "ips", "routes", "dns", "ip4", "ip6"})


class PreviousInterface(msgspec.Struct, frozen=True):
    """An entry of ``interfaces``; ``mtu`` in bytes, 0 where it is not told."""

    name: str
    mac: str = ""
    sandbox: str = ""
    mtu: int | None = None


class _Ip(msgspec.Struct, frozen=True):
    address: str
    interface: int | None = None
    gateway: str | None = None
    version: str | None = None


class _Route(msgspec.Struct, frozen=True):
    dst: str
    gw: str | None = None


class _Shape(msgspec.Struct, frozen=True):
    """The types of what a result has; a null list is an empty one, as Go writes it."""

    version: str = msgspec.field(name="cniVersion", default="")
    interfaces: tuple[PreviousInterface, ...] | None = None
    ips: tuple[_Ip, ...] | None = None
    routes: tuple[_Route, ...] | None = None
    dns: dict[str, Any] | None = None


class _OldFamily(msgspec.Struct, frozen=True):
    ip: str
    gateway: str | None = None
    routes: list[Entry] | None = None


class PreviousResult(msgspec.Struct, frozen=True, kw_only=True):
    """A result as it came, list by list, and what of it we compare with."""

    interfaces: tuple[Entry, ...] = ()
    ips: tuple[Entry, ...] = ()
    routes: tuple[Entry, ...] = ()
    dns: Mapping[str, Any] = {}
    others: Mapping[str, Any] = {}
    """Keys that no version knows."""
    known_interfaces: tuple[PreviousInterface, ...] = ()
    addresses: tuple[Interface, ...] = ()

    def sandbox_interface(self, name: str) -> tuple[int, PreviousInterface] | None:
        """The interface of that name in the container, and its place in the list; None where there is none."""
        for index, interface in enumerate(self.known_interfaces):
            if interface.name == name and interface.sandbox:
                return index, interface
        return None


def read(raw: msgspec.Raw, version: str) -> PreviousResult:
    """Read ``prevResult``.

    Args:
        raw: JSON.
        version: of the configuration that it stands in; counts where it does not say its own.

    Raises:
        CniError: code 7; names the field.
    """
    try:
        document = msgspec.json.decode(raw, type=dict[str, Any])
        told = document.get("cniVersion") or version
        if told in _FIRST_VERSIONS or (told == version and ("ip4" in document or "ip6" in document)):
            document = _from_first_versions(document)
        shape = msgspec.convert(document, type=_Shape)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise CniError(Code.INVALID_CONFIG, f"prevResult: {error}") from error
    if told not in (*_FIRST_VERSIONS, *VERSIONS):
        raise CniError(
            Code.INVALID_CONFIG,
            f"prevResult.cniVersion: {told!r} is not known here",
            f"known are {', '.join((*_FIRST_VERSIONS, *VERSIONS))}",
        )
    interfaces = shape.interfaces or ()
    return PreviousResult(
        interfaces=tuple(document.get("interfaces") or ()),
        ips=tuple(document.get("ips") or ()),
        routes=tuple(document.get("routes") or ()),
        dns=shape.dns or {},
        others={key: value for key, value in document.items() if key not in _OF_A_RESULT},
        known_interfaces=interfaces,
        addresses=tuple(_address(i, ip, len(interfaces)) for i, ip in enumerate(shape.ips or ())),
    )


def _address(i: int, ip: _Ip, interfaces: int) -> Interface:
    if ip.interface is not None and not -1 <= ip.interface < interfaces:
        raise CniError(
            Code.INVALID_CONFIG,
            f"prevResult.ips[{i}].interface: {ip.interface} is no index into its {interfaces} interfaces",
        )
    try:
        return ipaddress.ip_interface(ip.address)
    except ValueError as error:
        raise CniError(
            Code.INVALID_CONFIG, f"prevResult.ips[{i}].address: {ip.address[:80]!r} is no address"
        ) from error


def _from_first_versions(document: Entry) -> Entry:
    """0.1.0 and 0.2.0 have one address of each family, with its routes, and no interfaces."""
    ips: list[Entry] = []
    routes: list[Entry] = []
    for key in ("ip4", "ip6"):
        if document.get(key) is None:
            continue
        old = msgspec.convert(document[key], type=_OldFamily)
        ips.append({"address": old.ip, **({"gateway": old.gateway} if old.gateway else {})})
        routes += old.routes or []
    rest = {key: value for key, value in document.items() if key not in {"ip4", "ip6"}}
    return {"ips": ips, "routes": routes, **rest}


def document(
    version: str, interfaces: Iterable[Entry], ips: Iterable[Entry], routes: Iterable[Entry], dns: Entry
) -> Entry:
    """A result in the shape of a version; what comes in may be of any."""
    if is_older(version, "1.1.0"):
        interfaces = (_without(entry, _SINCE_1_1["interfaces"]) for entry in interfaces)
        routes = (_without(entry, _SINCE_1_1["routes"]) for entry in routes)
    if is_older(version, "1.0.0"):
        # 0.3.x and 0.4.0 say the IP version of each address, as a text
        ips = ({"version": _version_of(entry), **_without(entry, ("version",))} for entry in ips)
    else:
        ips = (_without(entry, ("version",)) for entry in ips)
    return {
        "cniVersion": version,
        "interfaces": list(interfaces),
        "ips": list(ips),
        "routes": list(routes),
        "dns": dns,
    }


def joined(previous: PreviousResult | None, ours: Entry) -> Entry:
    """Our result behind that of the plugins before us: what they said stays, whole, and our indices move on."""
    if previous is None:
        return ours
    version = ours["cniVersion"]
    shift = len(previous.interfaces)
    shifted = ({**ip, "interface": ip["interface"] + shift} for ip in ours["ips"])
    joint = document(
        version,
        (*previous.interfaces, *ours["interfaces"]),
        (*previous.ips, *shifted),
        (*previous.routes, *ours["routes"]),
        {**previous.dns, **ours["dns"]},
    )
    return {**previous.others, **joint}


def dns_entry(dns: Dns | None) -> Entry:
    """``dns`` of a result; an empty one where nothing is wanted."""
    if dns is None:
        return {}
    entry: Entry = {
        "nameservers": list(dns.nameservers),
        "domain": dns.domain,
        "search": list(dns.search),
        "options": list(dns.options),
    }
    return {key: value for key, value in entry.items() if value}


def _without(entry: Entry, keys: tuple[str, ...]) -> Entry:
    return {key: value for key, value in entry.items() if key not in keys}


def _version_of(entry: Entry) -> str:
    return str(ipaddress.ip_interface(entry["address"]).version)
