"""Results of plugins: read in the shape of any version of the specification, written in that of any other. Pure.

The shape in between is that of 1.1.0. Older ones have less: 0.1.0 and 0.2.0 know one address of each family and no interfaces,
0.3.x and 0.4.0 say the version of each address, 1.1.0 adds the MTU and more fields of routes; what a version cannot say is left out.
Not here: the result of our own ADD (``cni/result``).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

import msgspec

from netloom.cni.codes import CniError, Code
from netloom.cni.networks.configuration import VERSIONS
from netloom.program.links import Interface
from netloom.units import Addr, Cidr, parse_addr

Result = dict[str, Any]

_OLDEST = {"0.1.0", "0.2.0"}
_WITH_VERSION = {"0.3.0", "0.3.1", "0.4.0"}


class ResultInterface(msgspec.Struct, frozen=True):
    """An interface that a plugin made; ``sandbox`` is empty for one of the node. ``mtu`` in bytes, 0 where it does not say."""

    name: str
    mac: str = ""
    sandbox: str = ""
    mtu: int = 0


class ResultAddress(msgspec.Struct, frozen=True):
    """An address with its prefix; ``interface`` is a place in the result's interfaces, None where it does not say."""

    address: Interface
    gateway: Addr | None = None
    interface: int | None = None


class ResultRoute(msgspec.Struct, frozen=True):
    """A route of the pod."""

    destination: Cidr
    via: Addr | None = None


class Attached(msgspec.Struct, frozen=True):
    """What a network gave to a pod."""

    interfaces: tuple[ResultInterface, ...] = ()
    addresses: tuple[ResultAddress, ...] = ()
    routes: tuple[ResultRoute, ...] = ()
    dns: dict[str, Any] = {}

    def of_pod(self, name: str) -> ResultInterface | None:
        """The pod's interface of this name; the last one inside the pod where none is."""
        inside = [i for i in self.interfaces if i.sandbox]
        return next((i for i in inside if i.name == name), inside[-1] if inside else None)


class _Route(msgspec.Struct):
    dst: str
    gw: str = ""


class _Interface(msgspec.Struct):
    name: str = ""
    mac: str = ""
    sandbox: str = ""
    mtu: int = 0


class _Ip(msgspec.Struct):
    address: str
    gateway: str = ""
    interface: int | None = None


class _Shape(msgspec.Struct):
    interfaces: tuple[_Interface, ...] = ()
    ips: tuple[_Ip, ...] = ()
    routes: tuple[_Route, ...] = ()
    dns: dict[str, Any] = {}


def convert(result: Mapping[str, Any], version: str) -> Result:
    """The result in the shape of another version.

    Args:
        result: of a plugin.
        version: the wanted one.
    """
    own = result.get("cniVersion") or VERSIONS[0]
    if own == version:
        return {**result, "cniVersion": version}
    newest = _newest(result, own)
    return {"cniVersion": version, **_older(newest, version)}


def read(result: Mapping[str, Any], *, plugin: str) -> Attached:
    """What a result says.

    Raises:
        CniError: code 6: it is none; names the plugin.
    """
    try:
        shape = msgspec.convert(_without_nulls(convert(result, VERSIONS[-1])), type=_Shape)
        return Attached(
            tuple(ResultInterface(i.name, i.mac, i.sandbox, i.mtu) for i in shape.interfaces),
            tuple(
                ResultAddress(ipaddress.ip_interface(i.address), parse_addr(i.gateway), i.interface)
                for i in shape.ips
            ),
            tuple(
                ResultRoute(ipaddress.ip_network(r.dst, strict=False), parse_addr(r.gw)) for r in shape.routes
            ),
            shape.dns,
        )
    except (msgspec.ValidationError, ValueError, AttributeError, TypeError, KeyError) as error:
        raise CniError(Code.CANNOT_DECODE, f"plugin {plugin}: its result cannot be read: {error}") from error


def _without_nulls(result: Result) -> Result:
    # Go writes null for an empty list or a missing address
    return {
        key: [
            {k: v for k, v in one.items() if v is not None} if isinstance(one, dict) else one for one in value
        ]
        if isinstance(value, list)
        else value
        for key, value in result.items()
        if value is not None
    }


def _newest(result: Mapping[str, Any], own: str) -> Result:
    if own not in _OLDEST:
        plain = [{k: v for k, v in ip.items() if k != "version"} for ip in result.get("ips") or ()]
        return {**{k: v for k, v in result.items() if k != "cniVersion"}, "ips": plain}
    ips: list[Result] = []
    routes: list[Result] = []
    for family in ("ip4", "ip6"):
        if part := result.get(family):
            ip = {"address": part["ip"]}
            ips.append(ip | {"gateway": part["gateway"]} if part.get("gateway") else ip)
            routes += part.get("routes") or ()
    return {"ips": ips, "routes": routes, "dns": result.get("dns") or {}}


def _older(newest: Result, version: str) -> Result:
    if version == "1.1.0":
        return newest
    routes = [{k: v for k, v in r.items() if k in {"dst", "gw"}} for r in newest.get("routes") or ()]
    ips = newest.get("ips") or []
    if version in _OLDEST:
        return {**_oldest(ips, routes), "dns": newest.get("dns") or {}}
    if version in _WITH_VERSION:
        ips = [{"version": "6" if ":" in ip["address"] else "4", **ip} for ip in ips]
    interfaces = [
        {k: v for k, v in i.items() if k in {"name", "mac", "sandbox"}}
        for i in newest.get("interfaces") or ()
    ]
    return {"interfaces": interfaces, "ips": ips, "routes": routes, "dns": newest.get("dns") or {}}


def _oldest(ips: list[Result], routes: list[Result]) -> Result:
    """The first address of each family; its routes are those of the same family."""
    found: Result = {}
    for ip in ips:
        is_v6 = ":" in ip["address"]
        family = "ip6" if is_v6 else "ip4"
        if family not in found:
            own = [r for r in routes if (":" in r["dst"]) == is_v6]
            found[family] = {"ip": ip["address"], "gateway": ip.get("gateway", ""), "routes": own}
    return found
