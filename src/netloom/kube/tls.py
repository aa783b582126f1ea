"""TLS towards an API server, from PEM in memory. In: a ClientConfig; out: an SSL context. Not here: requests."""

from __future__ import annotations

import os
import ssl
from typing import BinaryIO

from netloom.errors import UsageError
from netloom.kube.kubeconfig import ClientConfig


def client_context(config: ClientConfig) -> ssl.SSLContext | bool:
    """Verifies the server against the config's CA and shows its client certificate; False for plain http.

    Raises:
        UsageError: a certificate or key is no PEM, or they do not belong together.
    """
    if not config.server.startswith("https://"):
        return False
    try:
        context = ssl.create_default_context(
            cadata=config.ca_data.decode("ascii") if config.ca_data else None
        )
        if config.client_cert:
            # OpenSSL reads key pairs from files only; these live in memory and end with the block.
            with _memory_file(config.client_cert) as cert, _memory_file(config.client_key) as key:
                context.load_cert_chain(f"/proc/self/fd/{cert.fileno()}", f"/proc/self/fd/{key.fileno()}")
    except (ssl.SSLError, UnicodeDecodeError, ValueError) as error:
        raise UsageError(
            f"credentials for {config.server}: {error}",
            "give PEM certificates and the key that belongs to them",
        ) from error
    return context


def _memory_file(content: bytes) -> BinaryIO:
    file = os.fdopen(os.memfd_create("netloom-pem", os.MFD_CLOEXEC), "w+b")
    file.write(content)
    file.flush()
    return file
