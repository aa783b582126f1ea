"""What a runtime asks: the CNI_* variables and the network configuration, read and checked. Pure.

In: bytes of a foreign process. Out: a :class:`CniRequest`, or a :class:`CniError` that names the variable or field. Rules of the
CNI specification 1.1.0. DEL is read leniently: what ADD refused must not keep a runtime from cleaning up behind it.
Not here: runtimeConfig (``capabilities``), prevResult (``previous``), CNI_ARGS (``arguments``), and doing it (``verbs``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from netloom.cni import arguments, capabilities, previous
from netloom.cni.arguments import Arguments
from netloom.cni.capabilities import NOTHING_WANTED, CniArgs, Dns, Wishes
from netloom.cni.codes import CniError, Code
from netloom.cni.ipam.lease import Attachment
from netloom.cni.previous import PreviousResult
from netloom.cni.versions import VERSIONS, is_older

_T = TypeVar("_T")

COMMANDS = ("ADD", "DEL", "CHECK", "GC", "VERSION", "STATUS")
_SINCE = {"CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]*")
_MAX_NAME = 256
_MAX_NETWORK = 200
"""The name of the network stands in the alias of the interface, which has 255 bytes."""
_BAD_IN_INTERFACE = re.compile(r"[/:\s]")
_OWN_IPAM = frozenset({"", "netloom", "netloom-cni"})


class ValidAttachment(msgspec.Struct, frozen=True):
    """An entry of ``cni.dev/valid-attachments``."""

    container: str = msgspec.field(name="containerID")
    interface: str = msgspec.field(name="ifname")


class _Version(msgspec.Struct, frozen=True):
    version: str = msgspec.field(name="cniVersion", default="")


class _Basics(msgspec.Struct, frozen=True):
    """What every verb needs of the configuration."""

    version: str | None = msgspec.field(name="cniVersion", default=None)
    name: str | None = None
    valid_attachments: tuple[ValidAttachment, ...] | None = msgspec.field(
        name="cni.dev/valid-attachments", default=None
    )
    # the specification's own text has this name in one place, and libcni writes both
    attachments: tuple[ValidAttachment, ...] | None = msgspec.field(name="cni.dev/attachments", default=None)


class _ConfigDns(msgspec.Struct, frozen=True):
    nameservers: tuple[str, ...] | None = None
    domain: str | None = None
    search: tuple[str, ...] | None = None
    options: tuple[str, ...] | None = None


class _Args(msgspec.Struct, frozen=True):
    cni: CniArgs | None = None


class _Details(msgspec.Struct, frozen=True):
    """What ADD and CHECK need besides. Other keys are for others: the specification lets us pass them over."""

    mtu: int | None = None
    ip_masq: bool | None = msgspec.field(name="ipMasq", default=None)
    ipam: dict[str, Any] | None = None
    dns: _ConfigDns | None = None
    args: _Args | None = None
    runtime_config: dict[str, msgspec.Raw] | None = msgspec.field(name="runtimeConfig", default=None)
    previous: msgspec.Raw = msgspec.field(name="prevResult", default=msgspec.Raw())


class CniRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One call of a runtime, checked."""

    command: str
    version: str
    network: str = ""
    """Name of the network configuration."""
    attachment: Attachment = Attachment("", "")
    netns_path: str = ""
    """CNI_NETNS as the runtime wrote it; repeated in results, never opened by us (the shim did)."""
    plugin_path: str = ""
    """CNI_PATH: directories of plugins, with colons between."""
    pod: str = ""
    """namespace/name of the Kubernetes pod; empty where the runtime names none."""
    pod_uid: str = ""
    """Its uid, where the runtime says it."""
    note: str = ""
    """What people may call the container; may be empty."""
    mtu: int | None = None
    wishes: Wishes = NOTHING_WANTED
    dns: Dns | None = None
    """What the result is to say of DNS; None where nothing is wanted."""
    previous: PreviousResult | None = None
    """``prevResult``; with ADD only where another plugin was before us."""
    valid_attachments: frozenset[Attachment] = frozenset()
    """With GC: those that stay."""
    words: tuple[str, ...] = ()
    """What was passed over, one sentence each."""


def parse(variables: Mapping[str, str], config: bytes) -> CniRequest:
    """Read and check a call.

    Raises:
        CniError: codes 1, 2, 4, 6, 7 with the variable or field at fault.
    """
    command = variables.get("CNI_COMMAND", "")
    if command not in COMMANDS:
        raise CniError(
            Code.INVALID_ENVIRONMENT, f"CNI_COMMAND {command[:80]!r} is none of {', '.join(COMMANDS)}"
        )
    basics = _basics(config, command)
    # Without a version the specification means its first (section "Version considerations").
    version = basics.version or "0.1.0"
    if command == "VERSION":
        return CniRequest(command=command, version=version)
    _check_version(command, version)
    network = basics.name or ""
    if not network:
        raise CniError(Code.INVALID_CONFIG, "name is missing in the network configuration")
    if command == "STATUS":
        return CniRequest(command=command, version=version, network=network)
    if command == "GC":
        return _gc(version, network, basics)
    attachment = _attachment(variables)
    if command == "DEL":
        said = arguments.read(variables.get("CNI_ARGS", ""), strict=False)
        return CniRequest(
            command=command,
            version=version,
            network=network,
            attachment=attachment,
            netns_path=variables.get("CNI_NETNS", ""),
            plugin_path=variables.get("CNI_PATH", ""),
            pod=said.pod,
            note=said.note,
        )
    if not _NAME.fullmatch(network) or len(network) > _MAX_NETWORK:
        raise CniError(
            Code.INVALID_CONFIG,
            f"name {network[:80]!r} is not a letter or digit followed by letters, digits, '_', '.', '-'",
        )
    return _whole(command, version, network, attachment, variables, config)


def version_of(config: bytes) -> str:
    """The version that an error is to be written in: the configuration's, or our newest where it has none that we know."""
    try:
        version = msgspec.json.decode(config, type=_Version).version
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return VERSIONS[-1]
    return version if version in VERSIONS else VERSIONS[-1]


def _whole(
    command: str,
    version: str,
    network: str,
    attachment: Attachment,
    variables: Mapping[str, str],
    config: bytes,
) -> CniRequest:
    """ADD and CHECK."""
    netns_path = variables.get("CNI_NETNS", "")
    if not netns_path:
        raise CniError(Code.INVALID_ENVIRONMENT, f"CNI_NETNS is not set; {command} needs a network namespace")
    details = _decode(config, _Details)
    _check_details(details)
    said = arguments.read(variables.get("CNI_ARGS", ""), strict=command == "ADD")
    wishes = capabilities.read(details.runtime_config, said, details.args.cni if details.args else None)
    before = None
    if bytes(details.previous) not in {b"", b"null"}:
        before = previous.read(details.previous, version)
    if command == "CHECK" and before is None:
        raise CniError(Code.INVALID_CONFIG, "prevResult is missing; CHECK needs what ADD answered")
    if command == "ADD" and before is not None:
        _check_free(before, attachment.interface)
    return CniRequest(
        command=command,
        version=version,
        network=network,
        attachment=attachment,
        netns_path=netns_path,
        plugin_path=variables.get("CNI_PATH", ""),
        pod=said.pod,
        pod_uid=said.pod_uid,
        note=said.note,
        mtu=details.mtu,
        wishes=wishes,
        dns=wishes.dns or _dns(details.dns),
        previous=before,
        words=(*_words(details, said), *wishes.words),
    )


def _basics(config: bytes, command: str) -> _Basics:
    if not config.strip() and command == "VERSION":
        return _Basics(version=VERSIONS[-1])
    return _decode(config, _Basics)


def _decode(config: bytes, type_: type[_T]) -> _T:
    try:
        return msgspec.json.decode(config, type=type_)
    except msgspec.ValidationError as error:
        raise CniError(Code.INVALID_CONFIG, f"network configuration: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CniError(Code.CANNOT_DECODE, f"network configuration on standard input: {error}") from error


def _check_version(command: str, version: str) -> None:
    if version not in VERSIONS:
        raise CniError(
            Code.INCOMPATIBLE_VERSION,
            f"cniVersion {version[:80]!r} is not supported",
            f"write one of {', '.join(VERSIONS)} into the network configuration",
        )
    since = _SINCE.get(command)
    if since is not None and is_older(version, since):
        raise CniError(
            Code.INCOMPATIBLE_VERSION, f"cniVersion {version} has no {command}; it came with {since}"
        )


def _check_details(details: _Details) -> None:
    if details.mtu is not None and details.mtu != 0 and not 576 <= details.mtu <= 65535:
        raise CniError(Code.INVALID_CONFIG, f"mtu {details.mtu} is outside 576 to 65535")
    ipam = (details.ipam or {}).get("type", "")
    if not isinstance(ipam, str) or ipam not in _OWN_IPAM:
        raise CniError(
            Code.UNSUPPORTED_FIELD,
            f"ipam.type {ipam!r:.80} is not supported: netloom gives addresses itself",
            "leave ipam out; addresses come from the node's ranges, pools, runtimeConfig.ips or runtimeConfig.ipRanges",
        )


def _check_free(before: PreviousResult, interface: str) -> None:
    """A plugin that makes CNI_IFNAME, as the specification wants it of us, cannot come after another that made it."""
    found = before.sandbox_interface(interface)
    if found is not None:
        raise CniError(
            Code.INVALID_CONFIG,
            f"prevResult.interfaces[{found[0]}]: {interface} was made by an earlier plugin of this network",
            "netloom makes CNI_IFNAME itself: put it before plugins that only change an interface, and in place of the one "
            "that makes it; for a second interface, write a second network",
        )


def _dns(told: _ConfigDns | None) -> Dns | None:
    if told is None:
        return None
    dns = Dns(told.nameservers or (), told.domain or "", told.search or (), told.options or ())
    capabilities.check_dns(dns, servers="dns.nameservers")
    return dns if dns != Dns() else None


def _words(details: _Details, said: Arguments) -> tuple[str, ...]:
    words = []
    if details.ip_masq is not None:
        words.append(
            "ipMasq: what leaves the cluster is masqueraded by the node's own settings, for all networks"
        )
    if said.unknown:
        words.append(f"CNI_ARGS: {', '.join(said.unknown)[:200]}: not known here")
    return tuple(words)


def _gc(version: str, network: str, basics: _Basics) -> CniRequest:
    valid = basics.valid_attachments if basics.valid_attachments is not None else basics.attachments
    if valid is None:
        raise CniError(
            Code.INVALID_CONFIG,
            "cni.dev/valid-attachments is missing; without it GC would remove every pod",
            "an empty list says that there is none",
        )
    return CniRequest(
        command="GC",
        version=version,
        network=network,
        valid_attachments=frozenset(Attachment(v.container, v.interface) for v in valid),
    )


def _attachment(variables: Mapping[str, str]) -> Attachment:
    container, interface = variables.get("CNI_CONTAINERID", ""), variables.get("CNI_IFNAME", "")
    if not _NAME.fullmatch(container) or len(container) > _MAX_NAME:
        raise CniError(
            Code.INVALID_ENVIRONMENT,
            f"CNI_CONTAINERID {container[:80]!r} is not a letter or digit followed by letters, digits, '_', '.', '-'",
        )
    if (
        not 0 < len(interface.encode(errors="replace")) < 16
        or interface in {".", "..", "lo"}
        or _BAD_IN_INTERFACE.search(interface)
        or not interface.isprintable()  # bytes that are no UTF-8 are surrogates here, which are not
    ):
        raise CniError(
            Code.INVALID_ENVIRONMENT,
            f"CNI_IFNAME {interface[:80]!r} cannot name an interface",
            "1 to 15 printable characters without '/', ':' and spaces, and not lo",
        )
    return Attachment(container, interface)
