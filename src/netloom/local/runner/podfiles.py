"""The small files of a pod: resolv.conf, hosts, hostname. Pure.

In: the pod's spec, its addresses, the cluster's DNS. Out: text as resolv.conf(5) and hosts(5) define it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from netloom.errors import InvalidObject
from netloom.local.runner.spec import DnsOption, Pod

MAX_NAMESERVERS = 3
"""What glibc reads (resolv.conf(5)); the API refuses more."""
MAX_HOSTNAME = 63
"""sethostname(2) takes 64; DNS labels end at 63 (RFC 1123)."""
_KERNEL_HOSTNAME = 64


class Dns(msgspec.Struct, frozen=True):
    """Where names are asked for."""

    domain: str
    cluster: tuple[str, ...]
    """Addresses of cluster DNS."""
    upstream: tuple[str, ...]
    """Addresses of the node's own resolvers."""


def hostname(pod: Pod, node_name: str) -> str:
    """The name that the pod gives itself: ``spec.hostname``, else its name; the node's on its network."""
    if pod.spec.host_network:
        return node_name
    return (pod.spec.hostname or pod.metadata.name)[:MAX_HOSTNAME].rstrip("-.")


def kernel_hostname(pod: Pod, node_name: str, domain: str) -> str:
    """What the pod's kernel calls it: its hostname, or with ``setHostnameAsFQDN`` its whole name in DNS.

    Raises:
        InvalidObject: the whole name is longer than the kernel takes.
    """
    name = hostname(pod, node_name)
    if not pod.spec.set_hostname_as_fqdn or not pod.spec.subdomain or pod.spec.host_network:
        return name
    whole = f"{name}.{pod.spec.subdomain}.{pod.metadata.namespace}.svc.{domain}"
    if len(whole) > _KERNEL_HOSTNAME:
        raise InvalidObject(
            f"Pod {pod.key}",
            "spec.setHostnameAsFQDN",
            f"{whole} has more than {_KERNEL_HOSTNAME} characters",
            "choose shorter names",
        )
    return whole


def resolv_conf(pod: Pod, dns: Dns) -> str:
    """resolv.conf for ``spec.dnsPolicy`` and ``spec.dnsConfig``.

    ClusterFirst on the node's network means Default, as the API says; ClusterFirstWithHostNet is for those pods.
    """
    policy = pod.spec.dns_policy
    if policy == "ClusterFirst" and pod.spec.host_network:
        policy = "Default"
    servers: Sequence[str] = ()
    searches: Sequence[str] = ()
    options: dict[str, str | None] = {}
    if policy in {"ClusterFirst", "ClusterFirstWithHostNet"}:
        servers = dns.cluster
        searches = (f"{pod.metadata.namespace}.svc.{dns.domain}", f"svc.{dns.domain}", dns.domain)
        options = {"ndots": "5"}
    elif policy == "Default":
        servers = dns.upstream
    config = pod.spec.dns_config
    if config is not None:
        servers = _unique([*servers, *config.nameservers])
        searches = _unique([*searches, *config.searches])
        options |= {o.name: o.value for o in config.options}
    lines = [f"nameserver {server}" for server in servers[:MAX_NAMESERVERS]]
    if searches:
        lines.insert(0, "search " + " ".join(searches))
    if options:
        lines.append("options " + " ".join(_option(DnsOption(n, v)) for n, v in options.items()))
    return "".join(f"{line}\n" for line in lines)


def hosts(pod: Pod, *, addresses: Iterable[str], node_name: str, domain: str) -> str:
    """The pod's /etc/hosts: localhost, the pod itself by its names, and ``spec.hostAliases``."""
    name = hostname(pod, node_name)
    names = name
    if pod.spec.subdomain and not pod.spec.host_network:
        names = f"{name}.{pod.spec.subdomain}.{pod.metadata.namespace}.svc.{domain}\t{name}"
    lines = [
        "127.0.0.1\tlocalhost",
        "::1\tlocalhost ip6-localhost ip6-loopback",
        "fe00::\tip6-localnet",
        "fe00::1\tip6-allnodes",
        "fe00::2\tip6-allrouters",
        *(f"{address}\t{names}" for address in addresses),
        *(f"{alias.ip}\t" + "\t".join(alias.hostnames) for alias in pod.spec.host_aliases),
    ]
    return "".join(f"{line}\n" for line in lines)


def _option(option: DnsOption) -> str:
    return f"{option.name}:{option.value}" if option.value else option.name


def _unique(words: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(words))
