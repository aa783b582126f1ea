"""Calls the CNI plugin as a container runtime does (CNI spec 1.1, section 2). In: an attachment; out: its result.

Not here: when to call again (``lifecycle``), and what the plugin does.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from netloom.errors import NetloomError
from netloom.linux import process

INTERFACE = "eth0"
TRY_AGAIN_LATER = 11
"""The only code that says that nothing is wrong but the moment."""
_TIMEOUT_S = 115.0


class CniFailed(NetloomError):
    """The plugin refused; ``code`` is the CNI error number."""

    def __init__(self, problem: str, hint: str, code: int) -> None:
        super().__init__(problem, hint)
        self.code = code


class Attachment(msgspec.Struct, frozen=True):
    """One interface of one sandbox; ``netns`` is empty where the namespace is gone (allowed for DEL)."""

    container_id: str
    netns: str
    namespace: str
    name: str
    uid: str
    runtime: Mapping[str, Any] = {}
    """What the runtime has to say of each capability (``runtime_config``)."""


class _Capable(msgspec.Struct, frozen=True):
    """The part of a network configuration that says what it wants to be told."""

    capabilities: Mapping[str, bool] = {}


class _Ip(msgspec.Struct, frozen=True):
    address: str


class _Result(msgspec.Struct, frozen=True):
    ips: tuple[_Ip, ...] = ()


class _Error(msgspec.Struct, frozen=True):
    code: int = 999
    msg: str = ""
    details: str = ""


class CniResult(msgspec.Struct, frozen=True):
    """What ADD gave: the pod's addresses, and the whole result as the plugin wrote it."""

    addresses: tuple[str, ...]
    raw: str


def addresses_of(result: str) -> tuple[str, ...]:
    """The pod's addresses in a result of ADD, without prefix lengths.

    Raises:
        CniFailed: it is no result.
    """
    try:
        ips = msgspec.json.decode(result, type=_Result).ips
    except msgspec.DecodeError as error:
        raise CniFailed(f"CNI ADD: the result cannot be read: {error}", "is it a CNI plugin?", 999) from error
    return tuple(ip.address.partition("/")[0] for ip in ips)


class CniClient:
    """The runtime's side of CNI on one node.

    Args:
        shim: the plugin's binary.
        config: the network configuration, JSON.
        socket: the agent's socket.
    """

    def __init__(self, *, shim: str, config: str, socket: str) -> None:
        self._shim = shim
        self._config = config
        wanted = msgspec.json.decode(config, type=_Capable).capabilities
        self._wanted = frozenset(name for name, is_wanted in wanted.items() if is_wanted)
        self._socket = socket

    async def add(self, attachment: Attachment) -> CniResult:
        """Attach a sandbox.

        Raises:
            CniFailed: with the plugin's code and words.
        """
        out = await self._call("ADD", attachment, "")
        text = out.decode("utf-8", "replace")
        return CniResult(addresses_of(text), text)

    async def delete(self, attachment: Attachment, previous: str) -> None:
        """Detach; no error where there is nothing to detach. ``previous`` is the result of ADD, if there was one.

        Raises:
            CniFailed: the attachment may still be there.
        """
        await self._call("DEL", attachment, previous)

    async def is_ready(self) -> bool:
        """STATUS: the plugin can serve ADD now."""
        try:
            await self._call("STATUS", None, "")
        except NetloomError:
            return False
        return True

    async def _call(self, command: str, attachment: Attachment | None, previous: str) -> bytes:
        done = await process.run(
            [self._shim],
            input=self._configuration(attachment, previous),
            env=self._environment(command, attachment),
            timeout_s=_TIMEOUT_S,
        )
        if done.returncode == 0:
            return done.stdout
        try:
            error = msgspec.json.decode(done.stdout, type=_Error)
        except msgspec.DecodeError:
            text = done.stderr.decode("utf-8", "replace").strip()[:500]
            error = _Error(999, f"plugin ended with {done.returncode}", text)
        raise CniFailed(f"CNI {command}: {error.msg} (code {error.code})", error.details, error.code)

    def _configuration(self, attachment: Attachment | None, previous: str) -> bytes:
        runtime = attachment.runtime if attachment is not None else {}
        added: dict[str, object] = {}
        if told := {name: value for name, value in runtime.items() if name in self._wanted}:
            added["runtimeConfig"] = told
        if previous:
            added["prevResult"] = msgspec.Raw(previous.encode())
        if not added:
            return self._config.encode()
        return msgspec.json.encode(msgspec.json.decode(self._config, type=dict[str, object]) | added)

    def _environment(self, command: str, attachment: Attachment | None) -> dict[str, str]:
        env = {
            "CNI_COMMAND": command,
            "CNI_PATH": str(Path(self._shim).parent),
            "NETLOOM_CNI_SOCKET": self._socket,
            "PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
        }
        if attachment is None:
            return env
        arguments = {
            "IgnoreUnknown": "1",
            "K8S_POD_NAMESPACE": attachment.namespace,
            "K8S_POD_NAME": attachment.name,
            "K8S_POD_INFRA_CONTAINER_ID": attachment.container_id,
            "K8S_POD_UID": attachment.uid,
        }
        return env | {
            "CNI_CONTAINERID": attachment.container_id,
            "CNI_NETNS": attachment.netns,
            "CNI_IFNAME": INTERFACE,
            "CNI_ARGS": ";".join(f"{name}={value}" for name, value in arguments.items()),
        }
