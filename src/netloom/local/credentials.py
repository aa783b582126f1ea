"""What the processes of a local cluster, and its people, are known by.

Comes in: the cluster's settings and the time. Goes out: certificates, keys and kubeconfigs in the cluster's directory, readable by its
owner only. Not here: how certificates are made (certs.py), what whom is allowed (apiserver/access).
"""

from __future__ import annotations

from netloom.local import certs
from netloom.local.apiserver.access import ours
from netloom.local.apiserver.access.identity import MASTERS, NODE_PREFIX, NODES
from netloom.local.listeners import UNDERLAY_API_PORT
from netloom.local.paths import ClusterPaths
from netloom.local.settings import ClusterSettings
from netloom.units import Addr

API_HOST = "127.0.0.1"


def pki(paths: ClusterPaths, settings: ClusterSettings, *, port: int, now: float) -> None:
    """Certificates and kubeconfigs: one authority for each start of the cluster, so that no old key opens it."""
    authority = certs.Authority.create(settings.name, now=now)
    addresses = (*settings.gateways, *settings.kubernetes_addresses)
    hosts = [API_HOST, "::1", "localhost", *map(str, addresses)]
    service = ["kubernetes", "kubernetes.default", "kubernetes.default.svc"]
    server = authority.server(
        "kube-apiserver", [*hosts, *service, f"{service[-1]}.{settings.cluster_domain}"]
    )
    paths.pki.mkdir(mode=0o700, exist_ok=True)
    certs.write_private(paths.pki / "ca.crt", authority.pem)
    certs.write_private(paths.pki / "apiserver.crt", server.certificate)
    certs.write_private(paths.pki / "apiserver.key", server.key)
    certs.accounts_key(paths.accounts_key)
    admin = authority.client("kubernetes-admin", (MASTERS,))
    url = f"https://{API_HOST}:{port}"
    certs.write_private(
        paths.kubeconfig,
        certs.kubeconfig(
            cluster=settings.name,
            server=url,
            ca=authority.pem,
            user=f"netloom-{settings.name}-admin",
            pair=admin,
        ),
    )
    url = f"https://{_in_url(settings.gateway)}:{UNDERLAY_API_PORT}"
    for name in settings.node_names:
        node = paths.node(name)
        node.root.mkdir(parents=True, mode=0o700, exist_ok=True)
        known = [(node.kubeconfig, f"{NODE_PREFIX}{name}", NODES)]
        known += [(node.credentials(p), ours.user_of(p, name), ours.group_of(p)) for p in ours.PARTS]
        for path, user, group in known:
            pair = authority.client(user, (group,))
            text = certs.kubeconfig(cluster=settings.name, server=url, ca=authority.pem, user=user, pair=pair)
            certs.write_private(path, text)


def _in_url(address: Addr) -> str:
    return f"[{address}]" if address.version == 6 else str(address)
