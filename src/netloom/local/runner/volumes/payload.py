"""The files of volumes that are made of values: configMap, secret, downwardAPI, projected (core/v1). Pure.

In: the volume, the pod, the ConfigMaps and Secrets that it names, tokens. Out: paths with bytes and modes. Not here: writing
them (``atomic``), and asking for tokens (``tokens``).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from netloom.errors import NetloomError
from netloom.local.runner.downward import field_text, resource_text
from netloom.local.runner.spec import Pod
from netloom.local.runner.volumes.spec import (
    ConfigMapSource,
    DownwardFile,
    KeyToPath,
    ProjectedSource,
    SecretProjection,
    TokenSource,
)

MAX_BYTES = 8 << 20
"""Bytes that the files of one volume may have together: some objects of the largest size that the API takes."""


class MountFailed(NetloomError):
    """A volume that cannot be made now; ``str()`` of it is what the event FailedMount says."""


class File(msgspec.Struct, frozen=True):
    """One file of a volume."""

    content: bytes
    mode: int
    user: int | None = None
    """Who it belongs to; None: root."""


_OF_USER = 0o600
Files = Mapping[str, File]
"""By path below the volume."""


class Values(msgspec.Struct, frozen=True, kw_only=True):
    """What files are made of."""

    maps: Mapping[tuple[str, str], Mapping[str, bytes]] = {}
    """Data of those ConfigMaps and Secrets that are there, by kind and name."""
    tokens: Mapping[TokenSource, str] = {}
    token_user: int | None = None
    """Who tokens belong to, where all containers run as one user."""
    tokens_closed: bool = False
    """Tokens are for their owner and his group only."""
    pod_ips: tuple[str, ...] = ()
    host_ips: tuple[str, ...] = ()
    allocatable: Mapping[str, str] = {}


def needed_maps(source: ProjectedSource) -> frozenset[tuple[str, str]]:
    """Kind and name of each ConfigMap and Secret that the volume shows."""
    found: set[tuple[str, str]] = set()
    for part in source.sources:
        if part.config_map is not None:
            found.add(("ConfigMap", part.config_map.name))
        if part.secret is not None:
            found.add(("Secret", part.secret.name))
    return frozenset(found)


def needed_tokens(source: ProjectedSource) -> tuple[TokenSource, ...]:
    """The service account's tokens that the volume shows."""
    return tuple(p.service_account_token for p in source.sources if p.service_account_token is not None)


def files_of(pod: Pod, source: ProjectedSource, values: Values) -> dict[str, File]:
    """Everything that the volume shows; of two files at one path the later one.

    Raises:
        MountFailed: something that is not optional is not there, or it is too much.
    """
    found: dict[str, File] = {}
    default = source.default_mode
    for part in source.sources:
        if part.config_map is not None:
            found |= _of_map("ConfigMap", part.config_map, values, default)
        if part.secret is not None:
            found |= _of_map("Secret", part.secret, values, default)
        for item in part.downward_api.items if part.downward_api is not None else ():
            found[item.path] = File(_told(pod, item, values), default if item.mode is None else item.mode)
        if part.service_account_token is not None:
            token = values.tokens.get(part.service_account_token, "")
            mode = _OF_USER if values.tokens_closed else default
            found[part.service_account_token.path] = File(token.encode(), mode, values.token_user)
        if part.cluster_trust_bundle is not None:
            raise MountFailed("clusterTrustBundle projections are not available on this node")
    if sum(len(file.content) for file in found.values()) > MAX_BYTES:
        raise MountFailed(f"its files have more than {MAX_BYTES} bytes together")
    return found


def _of_map(
    kind: str, source: ConfigMapSource | SecretProjection, values: Values, default: int
) -> dict[str, File]:
    data = values.maps.get((kind, source.name))
    if data is None:
        if source.optional:
            return {}
        raise MountFailed(f'{kind.lower()} "{source.name}" not found')
    items = source.items or tuple(KeyToPath(key, key) for key in data)
    found = {}
    for item in items:
        if item.key in data:
            found[item.path] = File(data[item.key], default if item.mode is None else item.mode)
        elif not source.optional:
            raise MountFailed(f"{kind.lower()} references non-existent {_NOUN[kind]} key: {item.key}")
    return found


_NOUN = {"ConfigMap": "config", "Secret": "secret"}


def _told(pod: Pod, item: DownwardFile, values: Values) -> bytes:
    text: str | None = None
    if item.field_ref is not None:
        text = field_text(pod, item.field_ref, pod_ips=values.pod_ips, host_ips=values.host_ips)
    elif item.resource_field_ref is not None:
        text = resource_text(pod, None, item.resource_field_ref, values.allocatable)
    if text is None:
        raise MountFailed(f"downwardAPI: nothing is told at {item.path}")
    return text.encode()
