from __future__ import annotations

import json

import pytest
from aiohttp import web

from netloom.errors import AlreadyExists, InvalidObject, NetloomError, NotFound, Unavailable, Unsupported
from netloom.kube.client import KubeClient
from netloom.kube.kubeconfig import ClientConfig
from netloom.kube.resources import CONFIG_MAPS, DEPLOYMENTS, NODES, PODS
from netloom.kube.status import Conflict, Denied, Expired
from netloom.testing.scripted_api import ScriptedServer, obj
from netloom.units import ObjectKey

KEY = ObjectKey("shop", "cart")


def answering(server: ScriptedServer, body: object, status: int = 200) -> list[bytes]:
    bodies: list[bytes] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        bodies.append(await request.read())
        return web.json_response(body, status=status)

    server.handler = handler
    return bodies


@pytest.mark.parametrize(
    ("resource", "namespace", "name", "subresource", "path"),
    [
        (PODS, "", "", "", "/api/v1/pods"),
        (PODS, "shop", "", "", "/api/v1/namespaces/shop/pods"),
        (PODS, "shop", "a", "binding", "/api/v1/namespaces/shop/pods/a/binding"),
        (DEPLOYMENTS, "shop", "a", "status", "/apis/apps/v1/namespaces/shop/deployments/a/status"),
        (NODES, "", "n", "", "/api/v1/nodes/n"),
        (NODES, "ignored", "n", "", "/api/v1/nodes/n"),
        (PODS, "shop", "a/../b", "", "/api/v1/namespaces/shop/pods/a%2F..%2Fb"),
    ],
)
def test_paths(resource, namespace, name, subresource, path):
    assert resource.path(namespace, name, subresource) == path


async def test_verbs_and_paths(server: ScriptedServer, client: KubeClient):
    bodies = answering(server, obj("cart"))
    body = obj("cart")
    await client.get(CONFIG_MAPS, KEY)
    await client.create(CONFIG_MAPS, body)
    await client.update(CONFIG_MAPS, body, subresource="status")
    await client.patch(CONFIG_MAPS, KEY, {"a": 1})
    await client.apply(CONFIG_MAPS, body, field_manager="me", force=True)
    await client.delete(CONFIG_MAPS, KEY, grace_s=0, preconditions_uid="u1")
    await client.create(PODS, body, subresource="binding")
    base = "/api/v1/namespaces/shop/configmaps"
    assert [(r.method, r.path_qs) for r in server.requests] == [
        ("GET", f"{base}/cart"),
        ("POST", base),
        ("PUT", f"{base}/cart/status"),
        ("PATCH", f"{base}/cart"),
        ("PATCH", f"{base}/cart?fieldManager=me&force=true"),
        ("DELETE", f"{base}/cart"),
        ("POST", "/api/v1/namespaces/shop/pods/cart/binding"),
    ]
    assert server.requests[3].headers["Content-Type"] == "application/merge-patch+json"
    assert server.requests[4].headers["Content-Type"] == "application/apply-patch+yaml"
    options = json.loads(bodies[5])
    assert options["gracePeriodSeconds"] == 0
    assert options["preconditions"] == {"uid": "u1"}
    assert options["propagationPolicy"] == "Background"


async def test_list_gathers_pages(server: ScriptedServer, client: KubeClient):
    server.objects = [obj(f"n{i}") for i in range(4500)]
    items, version = await client.list(CONFIG_MAPS)
    assert len(items) == 4500
    assert version == "1"
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("code", "reason", "error"),
    [
        (404, "NotFound", NotFound),
        (409, "AlreadyExists", AlreadyExists),
        (409, "Conflict", Conflict),
        (410, "Expired", Expired),
        (401, "Unauthorized", Denied),
        (403, "Forbidden", Denied),
        (405, "MethodNotAllowed", Unsupported),
        (415, "UnsupportedMediaType", Unsupported),
        (400, "BadRequest", InvalidObject),
        (429, "TooManyRequests", Unavailable),
        (500, "InternalError", Unavailable),
        (503, "ServiceUnavailable", Unavailable),
    ],
)
async def test_a_status_becomes_one_of_our_errors(server, client, code, reason, error):
    status = {"kind": "Status", "code": code, "reason": reason, "message": "because"}
    answering(server, status, code)
    with pytest.raises(NetloomError) as caught:
        await client.get(CONFIG_MAPS, KEY)
    assert type(caught.value) is error
    assert "ConfigMap shop/cart" in str(caught.value)
    assert "because" in str(caught.value)


async def test_an_invalid_object_names_the_field(server, client):
    causes = [
        {"reason": "FieldValueInvalid", "message": "must be positive", "field": "spec.replicas"},
        {"reason": "FieldValueRequired", "message": "Required value", "field": "spec.selector"},
    ]
    answering(
        server, {"kind": "Status", "code": 422, "reason": "Invalid", "details": {"causes": causes}}, 422
    )
    with pytest.raises(InvalidObject) as caught:
        await client.create(DEPLOYMENTS, obj("cart"))
    assert caught.value.field == "spec.replicas"
    assert "must be positive" in str(caught.value)
    assert "spec.selector" in str(caught.value)


async def test_an_answer_that_is_no_status_is_quoted(server, client):
    async def handler(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=502, text="<html>bad gateway</html>")

    server.handler = handler
    with pytest.raises(Unavailable, match="bad gateway"):
        await client.get(CONFIG_MAPS, KEY)


async def test_no_server_is_unavailable(tmp_path):
    config = ClientConfig(server="http://localhost", unix_socket=str(tmp_path / "none.sock"))
    async with KubeClient(config) as client:
        with pytest.raises(Unavailable, match=r"none\.sock"):
            await client.get(CONFIG_MAPS, KEY)


async def test_a_closed_client_says_so():
    client = KubeClient(ClientConfig(server="http://localhost"))
    with pytest.raises(Unavailable, match="not open"):
        await client.get(CONFIG_MAPS, KEY)


async def test_a_body_without_name_is_refused_before_it_is_sent(server, client):
    with pytest.raises(InvalidObject, match=r"metadata\.name"):
        await client.update(CONFIG_MAPS, {"metadata": {}})
    assert server.requests == []


async def test_tokens_are_sent_and_read_again_from_their_file(server, tmp_path):
    class Hand:
        now = 0.0

        def monotonic(self) -> float:
            return self.now

        def wall(self) -> float:
            return self.now

    token = tmp_path / "token"
    token.write_text("one\n")
    config = ClientConfig(
        server="http://localhost", unix_socket=str(tmp_path / "api.sock"), token_file=str(token)
    )
    clock = Hand()
    async with KubeClient(config, clock=clock) as client:
        answering(server, obj("cart"))
        await client.get(CONFIG_MAPS, KEY)
        token.write_text("two\n")
        await client.get(CONFIG_MAPS, KEY)
        clock.now = 61.0
        await client.get(CONFIG_MAPS, KEY)
    assert [r.headers["Authorization"] for r in server.requests] == ["Bearer one", "Bearer one", "Bearer two"]
