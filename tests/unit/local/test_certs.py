"""The cluster's certificates, proved by TLS itself."""

import ssl
import stat
import time

import msgspec
import pytest

from netloom.local import certs


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, host: str):
    """Both ends over memory; returns the client's certificate as the server saw it."""
    a, b, c, d = (ssl.MemoryBIO() for _ in range(4))
    left = client.wrap_bio(a, b, server_hostname=host)
    right = server.wrap_bio(c, d, server_side=True)
    waiting = [left, right]
    for _ in range(10):
        for end in list(waiting):
            try:
                end.do_handshake()
                waiting.remove(end)
            except ssl.SSLWantReadError:
                pass
            c.write(b.read())
            a.write(d.read())
        if not waiting:
            break
    return right.getpeercert()


@pytest.fixture
def authority():

    return certs.Authority.create("test", now=time.time())


@pytest.fixture
def server(authority, tmp_path):
    pair = authority.server("kube-apiserver", ["127.0.0.1", "kubernetes.default.svc"])
    certs.write_private(tmp_path / "ca.crt", authority.pem)
    certs.write_private(tmp_path / "apiserver.crt", pair.certificate)
    certs.write_private(tmp_path / "apiserver.key", pair.key)
    return certs.server_context(tmp_path)


def client_of(authority, tmp_path, pair=None):
    context = ssl.create_default_context(cadata=authority.pem.decode())
    if pair is not None:
        (tmp_path / "c.crt").write_bytes(pair.certificate)
        (tmp_path / "c.key").write_bytes(pair.key)
        context.load_cert_chain(tmp_path / "c.crt", tmp_path / "c.key")
    return context


def test_a_client_certificate_says_user_and_groups(authority, server, tmp_path):
    pair = authority.client("system:node:node-1", ("system:nodes",))
    seen = handshake(server, client_of(authority, tmp_path, pair), "127.0.0.1")
    names = [name for (name,) in seen["subject"]]
    assert ("commonName", "system:node:node-1") in names
    assert ("organizationName", "system:nodes") in names


def test_the_server_is_known_by_each_of_its_names_and_no_other(authority, server, tmp_path):
    for host in ("127.0.0.1", "kubernetes.default.svc"):
        handshake(server, client_of(authority, tmp_path), host)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(server, client_of(authority, tmp_path), "192.0.2.1")


def test_a_stranger_authoritys_certificate_is_refused(authority, server, tmp_path):

    stranger = certs.Authority.create("other", now=time.time()).client(
        "kubernetes-admin", ("system:masters",)
    )
    with pytest.raises(ssl.SSLError):
        handshake(server, client_of(authority, tmp_path, stranger), "127.0.0.1")


def test_keys_are_readable_by_their_owner_only(authority, tmp_path):
    certs.write_private(tmp_path / "key", b"secret")
    certs.write_private(tmp_path / "key", b"newer")
    assert (tmp_path / "key").read_bytes() == b"newer"
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["key"]


def test_a_kubeconfig_holds_all_that_a_client_needs():
    pair = certs.KeyPair(b"certificate", b"key")
    text = certs.kubeconfig(
        cluster="shop", server="https://127.0.0.1:6443", ca=b"ca", user="admin", pair=pair
    )
    config = msgspec.json.decode(text)
    assert config["current-context"] == "netloom-shop"
    assert config["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:6443"
    assert config["users"][0]["user"].keys() == {"client-certificate-data", "client-key-data"}
