"""What a DNS process is to do with names outside of the cluster: its configuration, a Corefile, the node's own resolv.conf.

Comes in: settings and paths. Goes out: checked settings; files are read here and nowhere else. Not here: any meaning (``config``, ``corefile``).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import msgspec

from netloom.dns.config import Checked, OutsideSettings, checked
from netloom.dns.corefile import read_corefile, resolv_conf_servers
from netloom.errors import UsageError

log = logging.getLogger(__name__)

RESOLV_CONF = "/etc/resolv.conf"


def settings_for_outside(
    settings: OutsideSettings, *, corefile: str, node_resolvers: Sequence[str], own: Sequence[str]
) -> Checked:
    """The settings; those of a Corefile in their place, where there is one.

    Args:
        settings: without upstreams, the node's own resolvers are asked.
        corefile: path of a CoreDNS configuration; empty: none.
        node_resolvers: what the node's resolv.conf says; empty: the file is read.
        own: addresses of this server, which must not ask itself.

    Raises:
        UsageError: a file cannot be read, or says what cannot be had; names file and field.
    """

    def read_file(path: str) -> str:
        if path == RESOLV_CONF and node_resolvers:
            return "".join(f"nameserver {one}\n" for one in node_resolvers)
        return _read(path)

    if corefile:
        reading = read_corefile(_read(corefile), read_file)
        for remark in reading.remarks:
            log.info("%s: %s", corefile, remark)
        settings = reading.settings
    elif not settings.upstreams:
        servers = tuple(resolv_conf_servers(read_file(RESOLV_CONF)))
        settings = msgspec.structs.replace(settings, upstreams=servers)
    found = checked(settings)
    for server in found.others.servers:
        if server.address in own:
            raise UsageError(
                f"dns: upstream {server}: is this server itself",
                "give the resolvers of the node, not cluster DNS",
            )
    return found


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {error}", "see: netloom dns --help") from error
