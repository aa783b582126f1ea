"""What a runtime asks: the CNI_* variables and the network configuration, read and checked. Pure.

In: bytes of a foreign process. Out: a :class:`CniRequest`, or a :class:`CniError` that names the variable or field. Rules of the
CNI specification 1.1.0. Not here: doing it (``verbs``), and how the bytes got here (``server``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from netloom.cni.codes import CniError, Code
from netloom.cni.ipam.store import Attachment

VERSIONS = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
"""Versions of the specification whose results we can write, oldest first."""

_SINCE = {"CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"}
_CONTAINER_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]*")
_MAX_CONTAINER_ID = 256
_BAD_IN_INTERFACE = re.compile(r"[/:\s]")


class ValidAttachment(msgspec.Struct, frozen=True):
    """An entry of ``cni.dev/valid-attachments``."""

    container: str = msgspec.field(name="containerID")
    interface: str = msgspec.field(name="ifname")


class PreviousAddress(msgspec.Struct, frozen=True):
    """An entry of a previous result's ``ips``: address and prefix length."""

    address: str


class PreviousResult(msgspec.Struct, frozen=True):
    """What ADD answered, as the runtime gives it back to CHECK and DEL."""

    ips: tuple[PreviousAddress, ...] = ()


class NetworkConfig(msgspec.Struct, frozen=True):
    """The network configuration on standard input, as far as we read it."""

    version: str = msgspec.field(name="cniVersion", default="")
    name: str = ""
    mtu: int | None = None
    previous: PreviousResult | None = msgspec.field(name="prevResult", default=None)
    valid_attachments: tuple[ValidAttachment, ...] | None = msgspec.field(
        name="cni.dev/valid-attachments", default=None
    )


class CniRequest(msgspec.Struct, frozen=True):
    """One call of a runtime, checked."""

    command: str
    version: str
    config: NetworkConfig
    attachment: Attachment = Attachment("", "")
    netns_path: str = ""
    """CNI_NETNS as the runtime wrote it; repeated in results, never opened by us (the shim did)."""
    pod: str = ""
    """namespace/name from CNI_ARGS, for people; may be empty."""


def parse(variables: Mapping[str, str], config: bytes) -> CniRequest:
    """Read and check a call.

    Raises:
        CniError: codes 1, 4, 6, 7 with the variable or field at fault.
    """
    command = variables.get("CNI_COMMAND", "")
    if command not in {"ADD", "DEL", "CHECK", "VERSION", "GC", "STATUS"}:
        raise CniError(
            Code.INVALID_ENVIRONMENT,
            f"CNI_COMMAND {command!r} is none of ADD, DEL, CHECK, VERSION, GC, STATUS",
        )
    network = _network(config, command)
    if command != "VERSION":
        _check_version(command, network)
    if command in {"VERSION", "GC", "STATUS"}:
        return CniRequest(command, network.version, network)
    attachment = _attachment(variables)
    if command in {"ADD", "CHECK"} and not variables.get("CNI_NETNS"):
        raise CniError(Code.INVALID_ENVIRONMENT, f"CNI_NETNS is not set; {command} needs a network namespace")
    if command == "CHECK" and network.previous is None:
        raise CniError(Code.INVALID_CONFIG, "prevResult is missing; CHECK needs what ADD answered")
    return CniRequest(
        command, network.version, network, attachment, variables.get("CNI_NETNS", ""), _pod(variables)
    )


def is_older(version: str, than: str) -> bool:
    """True where one version of the specification is older than another; both are known ones."""
    return VERSIONS.index(version) < VERSIONS.index(than)


def _network(config: bytes, command: str) -> NetworkConfig:
    if not config.strip() and command == "VERSION":
        return NetworkConfig(version=VERSIONS[-1])
    try:
        network = msgspec.json.decode(config, type=NetworkConfig)
    except msgspec.ValidationError as error:
        raise CniError(Code.INVALID_CONFIG, f"network configuration: {error}") from error
    except msgspec.DecodeError as error:
        raise CniError(Code.CANNOT_DECODE, f"network configuration on standard input: {error}") from error
    # Without a version the specification means its first (section "Version considerations").
    return network if network.version else msgspec.structs.replace(network, version="0.1.0")


def _check_version(command: str, network: NetworkConfig) -> None:
    if network.version not in VERSIONS:
        raise CniError(
            Code.INCOMPATIBLE_VERSION,
            f"cniVersion {network.version!r} is not supported",
            f"write one of {', '.join(VERSIONS)} into the network configuration",
        )
    since = _SINCE.get(command)
    if since is not None and is_older(network.version, since):
        raise CniError(
            Code.INCOMPATIBLE_VERSION, f"cniVersion {network.version} has no {command}; it came with {since}"
        )
    if not network.name:
        raise CniError(Code.INVALID_CONFIG, "name is missing in the network configuration")
    if network.mtu is not None and not 576 <= network.mtu <= 65535:
        raise CniError(Code.INVALID_CONFIG, f"mtu {network.mtu} is outside 576 to 65535")
    if command == "GC" and network.valid_attachments is None:
        raise CniError(Code.INVALID_CONFIG, "cni.dev/valid-attachments is missing; GC would remove every pod")


def _attachment(variables: Mapping[str, str]) -> Attachment:
    container, interface = variables.get("CNI_CONTAINERID", ""), variables.get("CNI_IFNAME", "")
    if not _CONTAINER_ID.fullmatch(container) or len(container) > _MAX_CONTAINER_ID:
        raise CniError(
            Code.INVALID_ENVIRONMENT,
            f"CNI_CONTAINERID {container[:80]!r} is not a letter or digit followed by letters, digits, '_', '.', '-'",
        )
    if (
        not 0 < len(interface.encode()) < 16
        or interface in {".", ".."}
        or _BAD_IN_INTERFACE.search(interface)
        or interface == "lo"
    ):
        raise CniError(
            Code.INVALID_ENVIRONMENT,
            f"CNI_IFNAME {interface[:80]!r} cannot name an interface",
            "1 to 15 bytes without '/', ':' and spaces, and not lo",
        )
    return Attachment(container, interface)


def _pod(variables: Mapping[str, str]) -> str:
    pairs = (pair.partition("=") for pair in variables.get("CNI_ARGS", "").split(";"))
    arguments = {name: value for name, _, value in pairs}
    name = arguments.get("K8S_POD_NAME", "")
    namespace = arguments.get("K8S_POD_NAMESPACE", "")
    return f"{namespace}/{name}" if namespace and name else name
