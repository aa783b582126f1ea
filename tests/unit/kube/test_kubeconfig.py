from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from netloom.errors import NetloomError, NotFound, Unsupported, UsageError
from netloom.kube.kubeconfig import ClientConfig, in_cluster, load


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def document(cluster: dict[str, Any] | None = None, user: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "shop"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://192.0.2.1:6443"} | (cluster or {})}],
        "users": [{"name": "u", "user": user or {}}],
    }


def written(tmp_path: Path, content: object) -> str:
    path = tmp_path / "config"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return str(path)


def test_inline_data(tmp_path):
    path = written(
        tmp_path,
        document(
            {"certificate-authority-data": b64(b"CA"), "tls-server-name": "kubernetes"},
            {"client-certificate-data": b64(b"CERT"), "client-key-data": b64(b"KEY")},
        ),
    )
    assert load(path) == ClientConfig(
        server="https://192.0.2.1:6443",
        ca_data=b"CA",
        client_cert=b"CERT",
        client_key=b"KEY",
        server_name="kubernetes",
        namespace="shop",
    )


def test_files_are_found_beside_the_kubeconfig(tmp_path):
    for name in ("ca", "cert", "key"):
        (tmp_path / name).write_text(name)
    path = written(
        tmp_path,
        document(
            {"certificate-authority": "ca"},
            {"client-certificate": "cert", "client-key": str(tmp_path / "key")},
        ),
    )
    config = load(path)
    assert (config.ca_data, config.client_cert, config.client_key) == (b"ca", b"cert", b"key")


def test_tokens(tmp_path):
    assert load(written(tmp_path, document(user={"token": "t"}))).token == "t"
    config = load(written(tmp_path, document(user={"token": "t", "tokenFile": "tok"})))
    assert (config.token, config.token_file) == ("", str(tmp_path / "tok"))


def test_unix_socket(tmp_path):
    config = load(written(tmp_path, document({"server": "unix:///run/api.sock"})))
    assert config.unix_socket == "/run/api.sock"


def test_another_context(tmp_path):
    doc = document()
    doc["contexts"].append({"name": "there", "context": {"cluster": "c"}})
    path = written(tmp_path, doc)
    assert load(path, "there").namespace == "default"
    assert load(path).namespace == "shop"


@pytest.mark.parametrize(
    ("content", "error", "says"),
    [
        ("a: [", UsageError, "cannot be read as YAML in line"),
        ("- a", UsageError, "is no mapping"),
        ({}, UsageError, "current-context is not set"),
        (document() | {"current-context": "x"}, UsageError, "has no entry named 'x'; there are: here"),
        (document() | {"clusters": 3}, UsageError, "clusters is no list"),
        (document() | {"users": []}, UsageError, "users has no entry named 'u'; there are: none"),
        (document({"server": ""}), UsageError, r"clusters\[c\].cluster.server"),
        (document({"server": "ftp://x"}), UsageError, "no address"),
        (
            document({"certificate-authority-data": "%%"}),
            UsageError,
            "certificate-authority-data is no base64",
        ),
        (document({"certificate-authority": "none"}), UsageError, "No such file"),
        (document(user={"client-certificate-data": b64(b"x")}), UsageError, "only one of"),
        (document({"insecure-skip-tls-verify": True}), Unsupported, "insecure-skip-tls-verify"),
        (document(user={"exec": {"command": "x"}}), Unsupported, "users.u..user.exec"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, content, error, says):
    path = written(tmp_path, content)
    with pytest.raises(NetloomError, match=says) as caught:
        load(path)
    assert type(caught.value) is error
    assert path in str(caught.value)


def test_no_file(tmp_path):
    with pytest.raises(NotFound, match="no such file"):
        load(str(tmp_path / "none"))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["current-context", "contexts", "clusters", "users", "name", "context", "a"]),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_any_yaml_gives_a_config_or_one_of_our_errors(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("k") / "config"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(NetloomError):
        load(str(path))


def test_secrets_are_not_shown():
    config = ClientConfig(server="https://192.0.2.1", token="hush", client_key=b"hush")
    assert "hush" not in repr(config)
    assert "hush" not in str(config)


def test_in_cluster(tmp_path):
    (tmp_path / "token").write_text("t")
    (tmp_path / "ca.crt").write_text("CA")
    (tmp_path / "namespace").write_text("shop\n")
    environ = {"KUBERNETES_SERVICE_HOST": "2001:db8::1", "KUBERNETES_SERVICE_PORT": "443"}
    config = in_cluster(tmp_path, environ)
    assert config.server == "https://[2001:db8::1]:443"
    assert (config.ca_data, config.token_file, config.namespace) == (b"CA", str(tmp_path / "token"), "shop")
    with pytest.raises(Unsupported, match="not a pod"):
        in_cluster(tmp_path, {})
    (tmp_path / "token").unlink()
    with pytest.raises(Unsupported, match="service account token"):
        in_cluster(tmp_path, environ)
