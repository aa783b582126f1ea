"""The IPAM plugin ``netloom-ipam``: addresses of a NetworkPool for any plugin that asks (``bridge``, ``macvlan`` ...).

In: CNI calls of such plugins, through our shim under the name ``netloom-ipam``. Out: IPAM results. Its calls come while the agent waits
for the plugin that makes them, so they have a socket of their own: on the agent's they could stand behind those that wait for them.
Rules of the CNI specification 1.1.0, section 4 (delegated plugins: IPAM). Not here: which address, and the record (``leases``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from netloom.cni import result
from netloom.cni.codes import CniError, Code, cni_error
from netloom.cni.ipam.store import Attachment
from netloom.cni.networks import results
from netloom.cni.networks.configuration import VERSIONS
from netloom.cni.networks.leases import Asked, Granted, PoolLeases, wanted_addresses
from netloom.cni.networks.pools import Pool
from netloom.cni.result import Answer
from netloom.errors import NetloomError, Untrue
from netloom.units import Addr, parse_addr

PLUGIN = "netloom-ipam"
"""What a network's ``ipam.type`` says, and the name of the executable."""


class _Arguments(msgspec.Struct):
    cni: dict[str, Any] = {}


class _Ipam(msgspec.Struct):
    type: str = ""
    pool: str = ""


class _Config(msgspec.Struct):
    version: str = msgspec.field(name="cniVersion", default="")
    ipam: _Ipam = msgspec.field(default_factory=_Ipam)
    runtime: dict[str, Any] = msgspec.field(name="runtimeConfig", default_factory=dict)
    arguments: _Arguments = msgspec.field(name="args", default_factory=_Arguments)


class PoolIpam:
    """Answers calls of ``netloom-ipam``; a ``CallHandler`` for a socket.

    Args:
        leases: the addresses.
    """

    def __init__(self, *, leases: PoolLeases) -> None:
        self._leases = leases

    async def answer(self, variables: Mapping[str, str], config: bytes, netns_fd: int | None) -> Answer:
        """Do what a plugin asks. Never raises for what it or the API server did wrong; that is in the answer."""
        version = "1.0.0"
        try:
            asked = _decode(config)
            version = asked.version or VERSIONS[0]
            return await self._do(variables, asked, version)
        except NetloomError as error:
            return result.failed(version, cni_error(error))

    async def _do(self, variables: Mapping[str, str], config: _Config, version: str) -> Answer:
        command = variables.get("CNI_COMMAND", "")
        if command == "VERSION":
            return _json({"cniVersion": version, "supportedVersions": list(VERSIONS)})
        if version not in VERSIONS:
            raise CniError(Code.INCOMPATIBLE_VERSION, f"{PLUGIN}: cniVersion {version!r} is not supported")
        if command in {"STATUS", "GC"}:
            return result.NOTHING
        attachment = Attachment(variables.get("CNI_CONTAINERID", ""), variables.get("CNI_IFNAME", ""))
        if not attachment.container or not attachment.interface:
            raise CniError(Code.INVALID_ENVIRONMENT, f"{PLUGIN}: CNI_CONTAINERID or CNI_IFNAME is not set")
        match command:
            case "DEL":
                await self._leases.release(attachment)
                return result.NOTHING
            case "CHECK":
                if wrong := await self._leases.check(attachment):
                    raise Untrue(f"attachment {attachment}: {'; '.join(wrong)}", "delete the pod")
                return result.NOTHING
            case "ADD":
                pool = await self._pool(config)
                pod, uid = _pod(variables.get("CNI_ARGS", ""))
                granted = await self._leases.acquire(pool, Asked(attachment, pod, uid, _wanted(config)))
                return _json(results.convert(ipam_result(pool, granted), version))
        raise CniError(Code.INVALID_ENVIRONMENT, f"{PLUGIN}: CNI_COMMAND {command!r} is no verb")

    async def _pool(self, config: _Config) -> Pool:
        if not config.ipam.pool:
            raise CniError(
                Code.INVALID_CONFIG,
                f"{PLUGIN}: ipam.pool is missing",
                "name a NetworkPool in the network configuration",
            )
        return await self._leases.pool(config.ipam.pool)


def ipam_result(pool: Pool, granted: tuple[Granted, ...]) -> results.Result:
    """The result of ADD: addresses, gateways and routes, and no interface."""
    ips: list[dict[str, Any]] = []
    for one in granted:
        ip = {"address": f"{one.address}/{one.prefix}"}
        ips.append(ip | {"gateway": str(one.gateway)} if one.gateway is not None else ip)
    families = {one.address.version for one in granted}
    routes = [
        {"dst": str(r.destination), **({"gw": str(r.via)} if r.via is not None else {})}
        for r in pool.routes
        if r.destination.version in families
    ]
    return {"cniVersion": "1.1.0", "ips": ips, "routes": routes, "dns": {}}


def _wanted(config: _Config) -> tuple[Addr, ...]:
    """Addresses that are asked for: the capability ``ips`` first, else the argument of that name (CNI conventions)."""
    listed = config.runtime.get("ips") or config.arguments.cni.get("ips") or ()
    if not isinstance(listed, list | tuple):
        raise CniError(Code.INVALID_CONFIG, f"{PLUGIN}: ips is no list", "write a list of addresses")
    for text in listed:
        if parse_addr(str(text).partition("/")[0]) is None:
            raise CniError(Code.INVALID_CONFIG, f"{PLUGIN}: ips: {text!r} is no address")
    return wanted_addresses(listed)


def _pod(arguments: str) -> tuple[str, str]:
    pairs = dict(pair.partition("=")[::2] for pair in arguments.split(";"))
    namespace, name = pairs.get("K8S_POD_NAMESPACE", ""), pairs.get("K8S_POD_NAME", "")
    return (f"{namespace}/{name}" if namespace and name else ""), pairs.get("K8S_POD_UID", "")


def _decode(config: bytes) -> _Config:
    if not config.strip():
        return _Config()
    try:
        return msgspec.json.decode(config, type=_Config)
    except msgspec.ValidationError as error:
        raise CniError(Code.INVALID_CONFIG, f"{PLUGIN}: network configuration: {error}") from error
    except msgspec.DecodeError as error:
        raise CniError(Code.CANNOT_DECODE, f"{PLUGIN}: network configuration: {error}") from error


def _json(body: Mapping[str, Any]) -> Answer:
    return Answer(0, msgspec.json.format(msgspec.json.encode(dict(body)), indent=2) + b"\n")
