"""Where the API server is and who we are. In: a kubeconfig file, or a pod's service account; out: a ClientConfig.

Read: current-context, inline data and files (relative ones beside the kubeconfig), tokens, client certificates,
``tls-server-name``, and ``server: unix:///path``. Refused by name: exec plugins, auth providers, basic auth, proxies,
and switched-off certificate checks. Not here: making requests (client.py).
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml

from netloom.errors import NotFound, Unsupported, UsageError

SERVICE_ACCOUNT_DIR = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod finds its token, CA and namespace (core/v1 ServiceAccount admission)."""


class ClientConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What a client needs; certificates and keys are PEM. ``token_file`` is read again while running: tokens rotate."""

    server: str
    ca_data: bytes = b""
    client_cert: bytes = b""
    client_key: bytes = b""
    token: str = ""
    token_file: str = ""
    server_name: str = ""
    unix_socket: str = ""
    namespace: str = "default"

    def __repr__(self) -> str:
        """Without keys and tokens, so that it may be logged."""
        return f"ClientConfig(server={self.server!r}, unix_socket={self.unix_socket!r}, namespace={self.namespace!r})"


def load(path: str, context: str | None = None) -> ClientConfig:
    """Read a kubeconfig.

    Args:
        path: the file.
        context: name of a context; None means ``current-context``.

    Raises:
        NotFound: there is no such file.
        UsageError: the file, or the context's cluster or user, cannot be used; says which field.
        Unsupported: it asks for a way to authenticate that we do not have.
    """
    return _Kubeconfig(path).config(context)


def in_cluster(
    directory: Path = SERVICE_ACCOUNT_DIR, environ: Mapping[str, str] | None = None
) -> ClientConfig:
    """The configuration of a pod with a service account.

    Raises:
        Unsupported: this is no pod, or it has no service account token.
    """
    environ = os.environ if environ is None else environ
    host, port = environ.get("KUBERNETES_SERVICE_HOST", ""), environ.get("KUBERNETES_SERVICE_PORT", "")
    if not host or not port:
        raise Unsupported(
            "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set: this is not a pod",
            "give a kubeconfig",
        )
    namespace = directory / "namespace"
    try:
        return ClientConfig(
            server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
            ca_data=(directory / "ca.crt").read_bytes(),
            token_file=str(_readable(directory / "token")),
            namespace=namespace.read_text().strip() if namespace.exists() else "default",
        )
    except OSError as error:
        raise Unsupported(
            f"{error.filename}: {error.strerror}: this pod has no service account token",
            "set automountServiceAccountToken, or give a kubeconfig",
        ) from error


def _readable(path: Path) -> Path:
    path.read_bytes()
    return path


class _Kubeconfig:
    """One file, with lookups that name the field that is wrong."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        try:
            text = self._path.read_bytes()
        except FileNotFoundError as error:
            raise NotFound(f"kubeconfig {path}: no such file", "give the path of a kubeconfig") from error
        except OSError as error:
            raise UsageError(f"kubeconfig {path}: {error.strerror}", "make it readable") from error
        try:
            document = yaml.safe_load(text)
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            where = getattr(error, "problem_mark", None)
            line = f" in line {where.line + 1}" if where else ""
            raise self._wrong("", f"cannot be read as YAML{line}", "mend or renew the file") from error
        if not isinstance(document, dict):
            raise self._wrong("", "is no mapping", "mend or renew the file")
        self._document: dict[str, Any] = document

    def config(self, context: str | None) -> ClientConfig:
        name = context or self._document.get("current-context") or ""
        if not name:
            raise self._wrong("current-context", "is not set", "set it, or name a context")
        chosen = self._named("contexts", "context", name)
        where = f"contexts[{name}].context"
        cluster_name, user_name = chosen.get("cluster", ""), chosen.get("user", "")
        if not cluster_name:
            raise self._wrong(f"{where}.cluster", "is not set", "name a cluster of this file")
        cluster = self._named("clusters", "cluster", cluster_name)
        user = self._named("users", "user", user_name) if user_name else {}
        return self._combine(
            cluster, f"clusters[{cluster_name}].cluster", user, f"users[{user_name}].user", chosen
        )

    def _combine(
        self,
        cluster: dict[str, Any],
        at_cluster: str,
        user: dict[str, Any],
        at_user: str,
        context: dict[str, Any],
    ) -> ClientConfig:
        self._refuse(cluster, at_cluster, ("insecure-skip-tls-verify", "proxy-url"))
        self._refuse(user, at_user, ("exec", "auth-provider", "username", "as"))
        server = str(cluster.get("server") or "")
        scheme, _, rest = server.partition("://")
        if scheme not in {"http", "https", "unix"} or not rest:
            raise self._wrong(
                f"{at_cluster}.server", f"{server!r} is no address", "write https://host:port or unix:///path"
            )
        cert = self._blob(user, at_user, "client-certificate")
        key = self._blob(user, at_user, "client-key")
        if bool(cert) != bool(key):
            raise self._wrong(
                at_user, "has only one of client-certificate and client-key", "give both or none"
            )
        token_file = str(user.get("tokenFile") or "")
        return ClientConfig(
            server="http://localhost" if scheme == "unix" else server.rstrip("/"),
            unix_socket=rest if scheme == "unix" else "",
            ca_data=self._blob(cluster, at_cluster, "certificate-authority"),
            server_name=str(cluster.get("tls-server-name") or ""),
            client_cert=cert,
            client_key=key,
            token="" if token_file else str(user.get("token") or ""),
            token_file=str(self._path.parent / token_file) if token_file else "",
            namespace=str(context.get("namespace") or "default"),
        )

    def _named(self, section: str, inner: str, name: str) -> dict[str, Any]:
        entries = self._document.get(section) or []
        if not isinstance(entries, list):
            raise self._wrong(section, "is no list", "mend or renew the file")
        for entry in entries:
            if isinstance(entry, dict) and entry.get("name") == name:
                value = entry.get(inner) or {}
                if isinstance(value, dict):
                    return value
                raise self._wrong(f"{section}[{name}].{inner}", "is no mapping", "mend or renew the file")
        there = ", ".join(str(e.get("name")) for e in entries if isinstance(e, dict)) or "none"
        raise self._wrong(section, f"has no entry named {name!r}", f"there are: {there}")

    def _refuse(self, values: dict[str, Any], where: str, fields: tuple[str, ...]) -> None:
        for field in fields:
            if values.get(field):
                raise Unsupported(
                    f"kubeconfig {self._path}: {where}.{field} is not supported",
                    "use a client certificate or a token, over verified TLS",
                )

    def _blob(self, values: dict[str, Any], where: str, field: str) -> bytes:
        """``field-data`` (base64), or the file that ``field`` names; inline data wins, as with kubectl."""
        if inline := values.get(f"{field}-data"):
            try:
                return base64.b64decode(str(inline), validate=True)
            except binascii.Error as error:
                raise self._wrong(
                    f"{where}.{field}-data", "is no base64", "encode the PEM as base64"
                ) from error
        named = values.get(field)
        if not named:
            return b""
        try:
            return (self._path.parent / str(named)).read_bytes()
        except OSError as error:
            raise self._wrong(
                f"{where}.{field}", f"{named}: {error.strerror}", "give a readable PEM file"
            ) from error

    def _wrong(self, field: str, problem: str, hint: str) -> UsageError:
        return UsageError(f"kubeconfig {self._path}: {field + ' ' if field else ''}{problem}", hint)
