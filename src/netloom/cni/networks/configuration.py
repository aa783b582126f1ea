"""A network configuration list, read from JSON and written for each of its plugins. Pure.

In: the text of a NetworkAttachmentDefinition or of a file. Out: a :class:`NetworkList`, or InvalidObject that names the field; and
what each plugin of the list reads on its standard input. Rules of the CNI specification 1.1.0, sections 1 and 3 ("Execution of
Network Configurations"). Not here: running a plugin (``cni/delegate``), what a pod asks for (``selection``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from netloom.errors import InvalidObject

VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
"""Versions of the specification that a delegated network may be written in, oldest first."""

_PLUGIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]*")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]*")

Config = dict[str, Any]


class NetworkList(msgspec.Struct, frozen=True):
    """A network: its plugins in the order of ADD, each with its configuration as it was written."""

    name: str
    version: str
    plugins: tuple[Config, ...]
    disable_check: bool = False

    def has(self, version: str) -> bool:
        """True where the network's version of the specification is at least this one."""
        return VERSIONS.index(self.version) >= VERSIONS.index(version)

    def declares(self, capability: str) -> bool:
        """True where one of the plugins declares this capability."""
        return any(_capabilities(plugin).get(capability) is True for plugin in self.plugins)


class Requested(msgspec.Struct, frozen=True):
    """What the runtime adds to a configuration: values for capabilities, and arguments for every plugin (``args.cni``)."""

    capabilities: Config = {}
    arguments: Config = {}


def read(text: str | bytes, *, subject: str, field: str, name: str) -> NetworkList:
    """A configuration, or a list of them.

    Args:
        text: JSON.
        subject: the object that it stands in, for errors.
        field: the field of that object.
        name: of the network, where the configuration says none (de-facto standard, section 3.2.2).

    Raises:
        InvalidObject: it cannot be used; says why.
    """
    try:
        body = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise InvalidObject(
            subject, field, f"is no JSON: {error}", "write a CNI network configuration"
        ) from error
    if not isinstance(body, dict):
        raise InvalidObject(subject, field, "is no JSON object", "write a CNI network configuration")
    listed = body.get("plugins")
    if listed is not None and (not isinstance(listed, list) or not listed):
        raise InvalidObject(
            subject, f"{field}: plugins", "is no list with plugins in it", "write at least one"
        )
    plugins = tuple(listed) if listed is not None else (body,)
    for number, plugin in enumerate(plugins):
        _check_plugin(plugin, subject, f"{field}: plugins[{number}]" if listed is not None else field)
    said = body.get("name") or name
    if not isinstance(said, str) or not _NAME.fullmatch(said):
        raise InvalidObject(
            subject, f"{field}: name", f"{said!r} cannot name a network", "use letters, digits, '_', '.', '-'"
        )
    disabled = body.get("disableCheck", False)
    return NetworkList(said, _version(body, subject, field), plugins, disabled in (True, "true"))


def plugin_input(
    network: NetworkList, number: int, requested: Requested, previous: Mapping[str, Any] | None
) -> Config:
    """What the plugin with this number reads on its standard input.

    ``capabilities`` becomes ``runtimeConfig``, with the values for those that are declared and no others.
    """
    plugin = network.plugins[number]
    config = {
        key: value for key, value in plugin.items() if key not in {"capabilities", "plugins", "cniVersions"}
    }
    config["name"] = network.name
    config["cniVersion"] = network.version
    declared = _capabilities(plugin)
    given = {key: value for key, value in requested.capabilities.items() if declared.get(key) is True}
    if given:
        config["runtimeConfig"] = {**(plugin.get("runtimeConfig") or {}), **given}
    if requested.arguments:
        arguments = plugin.get("args") or {}
        config["args"] = {**arguments, "cni": {**(arguments.get("cni") or {}), **requested.arguments}}
    if previous is not None:
        config["prevResult"] = dict(previous)
    return config


def _capabilities(plugin: Config) -> Config:
    declared: Config = plugin.get("capabilities") or {}
    return declared


def _check_plugin(plugin: object, subject: str, field: str) -> None:
    if not isinstance(plugin, dict):
        raise InvalidObject(subject, field, "is no JSON object", "write a plugin's configuration")
    kind = plugin.get("type")
    if not isinstance(kind, str) or not kind:
        raise InvalidObject(subject, f"{field}: type", "is missing", "name the plugin, such as bridge")
    if not _PLUGIN.fullmatch(kind):
        raise InvalidObject(
            subject, f"{field}: type", f"{kind!r} cannot name a plugin", "it is a file name, not a path"
        )
    for key in ("capabilities", "runtimeConfig", "args"):
        if not isinstance(plugin.get(key) or {}, dict):
            raise InvalidObject(subject, f"{field}: {key}", "is no JSON object", "see the CNI specification")
    if not isinstance((plugin.get("args") or {}).get("cni") or {}, dict):
        raise InvalidObject(subject, f"{field}: args.cni", "is no JSON object", "see the CNI conventions")


def _version(body: Config, subject: str, field: str) -> str:
    """The newest that the configuration allows and we know; without any, the specification's first."""
    listed = body.get("cniVersions") or ()
    allowed = [v for v in (*(listed if isinstance(listed, list) else ()), body.get("cniVersion") or "") if v]
    if not allowed:
        return VERSIONS[0]
    known = [v for v in VERSIONS if v in allowed]
    if not known:
        raise InvalidObject(
            subject,
            f"{field}: cniVersion",
            f"{allowed[-1]!r} is not supported",
            f"write one of {', '.join(VERSIONS)}",
        )
    return known[-1]
