"""TLS of Ingresses: a listener for each host that some Ingress has a certificate for.

Comes in: Ingresses as read, Secrets, the time. Goes out: listeners of port 443, most specific name first. A Secret that is not there or not sound takes
its own hosts out, and a Finding names it. Not here: reading certificates (``certificates.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from netloom.api.core import Secret
from netloom.model.gateways.certificates import Bad, read_key_pair
from netloom.model.gateways.hostnames import covers, patterns_of, specificity
from netloom.model.gateways.ingress_rules import ReadIngress
from netloom.model.gateways.plan import Certificate, Host, Listener, ListenerTls
from netloom.model.provenance import Finding, Source
from netloom.units import ObjectKey


def listeners_of(
    read: Iterable[ReadIngress],
    secrets: Mapping[ObjectKey, Secret],
    now: float,
    hosts: tuple[Host, ...],
    findings: list[Finding],
) -> tuple[Listener, ...]:
    """Listeners by host name; of two Ingresses with a certificate for one name the older counts."""
    found: dict[str, Listener] = {}
    by_name = {host.name: host for host in hosts}
    for one in read:
        for source, names, secret in _wanted(one):
            certificate = _certificate(source, ObjectKey(one.key.namespace, secret), secrets, now, findings)
            if certificate is None:
                continue
            for name in names:
                _claim(found, name, source, certificate, by_name, findings)
    return tuple(sorted(found.values(), key=lambda listener: specificity(listener.hostname)))


def _wanted(read: ReadIngress) -> Iterator[tuple[Source, tuple[str, ...], str]]:
    """Each entry of ``spec.tls``: where, for which names, which Secret. Without names it is for the hosts of the rules."""
    for number, tls in enumerate(read.spec.tls):
        named = tuple(host.lower() for host in tls.hosts) or tuple(
            rule.host.lower() for rule in read.spec.rules
        )
        yield read.source.at(f"spec.tls[{number}]"), tuple(dict.fromkeys(named)) or ("",), tls.secret_name


def _certificate(
    source: Source,
    key: ObjectKey,
    secrets: Mapping[ObjectKey, Secret],
    now: float,
    findings: list[Finding],
) -> Certificate | None:
    if not key.name:
        problem = "names no Secret, and there is no certificate to fall back to"
        findings.append(Finding(source.at(f"{source.field}.secretName"), problem, "name one"))
        return None
    secret = secrets.get(key)
    read = Bad("is not there") if secret is None else read_key_pair(secret)
    sound = read if isinstance(read, Bad) else read.at(now)
    if isinstance(sound, Bad):
        problem = f"Secret {key} {sound.problem}"
        hint = "its hosts have no TLS until it is put right"
        findings.append(Finding(source.at(f"{source.field}.secretName"), problem, hint))
        return None
    return sound


def _claim(
    found: dict[str, Listener],
    name: str,
    source: Source,
    certificate: Certificate,
    hosts: Mapping[str, Host],
    findings: list[Finding],
) -> None:
    taken = found.get(name)
    if taken is None:
        tls = ListenerTls((certificate,))
        is_one = name and not name.startswith("*")
        below = (
            ()
            if is_one
            else (host for host in hosts.values() if covers(name, host.name) and host.name != name)
        )
        above = (hosts[pattern] for pattern in patterns_of(name) if pattern in hosts)
        served = (*below, *above)
        found[name] = Listener(f"https-{name or 'any'}", source, name, tls, served)
    elif taken.tls is not None and taken.tls.certificates[0].source != certificate.source:
        problem = f"{name or 'any host'} has its certificate from {taken.source}, which is older"
        findings.append(Finding(source, problem, "leave it out of one of the two"))
