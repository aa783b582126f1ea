"""Certificates of a door: files, and the list that says which is shown for which server name.

Comes in: listeners. Goes out: lines of a crt-list, files. Not here: whether a certificate is one (``model/gateways/certificates.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from netloom.gateway.haproxy.quote import digest
from netloom.gateway.haproxy.told import CertificateLine
from netloom.model.gateways.hostnames import covers, patterns_of
from netloom.model.gateways.plan import Certificate, Listener, ListenerTls

_VERSIONS = ("TLSv1.2", "TLSv1.3")
_PROTOCOLS = ("h2", "http/1.1")


def pem_of(certificate: Certificate) -> str:
    """Chain and key in one text, as HAProxy reads them."""
    return f"{certificate.chain.rstrip()}\n{certificate.key.rstrip()}\n"


def file_of(certificate: Certificate) -> str:
    """Its file: named by the Secret, so that a new certificate of the same Secret is a change of one file."""
    source = certificate.source
    return f"certs/{digest(source.kind, source.namespace, source.name, source.field)}.pem"


def mark_of(pem: str) -> str:
    """What tells this content of a file from any other, and from its source."""
    return digest(pem)


def lines_of(listeners: Sequence[Listener], files: dict[str, str]) -> tuple[CertificateLine, ...]:
    """The crt-list of a door; the certificate for everybody else is the first line.

    Args:
        listeners: those at which TLS ends, from special to general.
        files: gets the authorities of clients.
    """
    hostnames = {listener.hostname: None for listener in listeners}
    lines: list[CertificateLine] = []
    for listener in listeners:
        tls = listener.tls
        if tls is None:
            continue
        options = _options(tls, files, is_stream=listener.is_stream)
        taken: set[str] = set()
        for number, certificate in enumerate(tls.certificates):
            names = _names(listener, certificate, hostnames, is_first=number == 0)
            fresh = tuple(name for name in names if name not in taken)
            taken |= set(fresh)
            if fresh:
                lines.append(CertificateLine(file_of(certificate), options, fresh))
    if not lines:
        return ()
    # whom no name fits gets what the most general listener shows first
    general = next((one for one in reversed(listeners) if one.tls is not None and one.tls.certificates), None)
    assert general is not None  # noqa: S101 - there are lines
    assert general.tls is not None  # noqa: S101
    default = CertificateLine(
        file_of(general.tls.certificates[0]), _options(general.tls, files, is_stream=general.is_stream)
    )
    first = next(
        (line for line in lines if (line.file, line.options) == (default.file, default.options)), default
    )
    return (first, *(line for line in lines if line is not first))


def _names(
    listener: Listener, certificate: Certificate, hostnames: Mapping[str, None], *, is_first: bool
) -> tuple[str, ...]:
    """Server names for which this one is shown: those in it that are this listener's, and for the first the listener's own."""
    own = []
    for name in certificate.names:
        owner = next((pattern for pattern in patterns_of(name.lower()) if pattern in hostnames), None)
        if owner == listener.hostname:
            own.append(name.lower())
    hostname = listener.hostname
    is_shown = is_first or any(_means(name.lower(), hostname) for name in certificate.names)
    if hostname and hostname not in own and is_shown:
        own.append(hostname)
    if not hostname and is_first and not own:
        own.append("*")
    return tuple(own)


def _means(name: str, hostname: str) -> bool:
    return covers(name, hostname) and name.count(".") == hostname.count(".")


def _options(tls: ListenerTls, files: dict[str, str], *, is_stream: bool) -> str:
    least = tls.least_version if tls.least_version in _VERSIONS else _VERSIONS[0]
    words = [f"ssl-min-ver {least}"]
    alpn = [protocol for protocol in tls.alpn if protocol in _PROTOCOLS]
    if alpn and not is_stream:
        words.append(f"alpn {','.join(alpn)}")
    if tls.clients is not None and tls.clients.is_required:
        # AllowInsecureFallback lets in who shows none or one that does not verify: nobody is asked. HAProxy can ignore what does not
        # verify for all listeners of a socket only, also for those that insist.
        file = f"authorities/{digest(tls.clients.authorities)}.pem"
        files[file] = tls.clients.authorities
        words.append(f"ca-file {file} verify required")
    return " ".join(words)
