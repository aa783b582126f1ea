"""Whatever a client sends, the API server answers: what is wrong is a Status of 4xx, and the next request is served as before."""

from __future__ import annotations

import asyncio
import base64
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.local.apiserver.conftest import Api, HandClock, config_map, listening, namespace

from netloom.local.apiserver.server import ApiServer, Listener
from netloom.local.apiserver.store import Store

PATCHES = ("json-patch+json", "merge-patch+json", "strategic-merge-patch+json", "apply-patch+yaml")
BODIES = ("json", "yaml", "vnd.kubernetes.protobuf", "x-nonsense", *PATCHES)
_scalars = st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=6)
_json = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
_fields = st.sampled_from(
    [
        "apiVersion",
        "kind",
        "metadata",
        "name",
        "namespace",
        "data",
        "labels",
        "annotations",
        "ownerReferences",
    ]
)
_like_objects = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_fields, inner, max_size=4),
    max_leaves=10,
)
_operations = st.lists(
    st.fixed_dictionaries(
        {
            "op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test", "?"]),
            "path": st.text("/~01abdkeimnt-", max_size=12),
        },
        optional={"value": _json, "from": st.text("/dat", max_size=6)},
    )
    | _json,
    max_size=3,
)
_selector = st.text("abc=!,() inotexists<>.-_/1", max_size=24)


class Served:
    """A server with one ConfigMap, in a loop of its own."""

    def __init__(self, runner: asyncio.Runner, api: Api) -> None:
        self.runner = runner
        self.api = api

    def ask(self, method: str, path: str, body: bytes | None = None, media: str = "json") -> dict[str, Any]:
        """Send it; the answer's document, which must be of the API's shape. Then the server must be as before."""

        async def both() -> dict[str, Any]:
            answer = await self.api(method, path, body, Content_Type=f"application/{media}")
            assert answer.code < 500, answer.text
            document: dict[str, Any] = answer.json
            if answer.code >= 400:
                assert document["kind"] == "Status"
                assert document["apiVersion"] == "v1"
                assert document["status"] == "Failure"
                assert document["code"] == answer.code
                assert document["message"]
                assert document["reason"]
            assert (await self.api("GET", "configmaps/kept")).code == 200
            return document

        return self.runner.run(both())


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with tempfile.TemporaryDirectory(prefix="nl") as directory, asyncio.Runner() as runner:
        place = Path(directory) / "api.sock"
        store, clock = Store(":memory:"), HandClock()
        server = ApiServer(store=store, clock=clock, service_cidrs=[], runner_socket=lambda _: None)

        async def begin() -> tuple[asyncio.Task[None], Api]:
            task = asyncio.get_running_loop().create_task(server.serve([Listener(listening(place))]))
            await server.started.wait()
            api = Api(
                aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(place))), server, store, clock
            )
            await api.create("/api/v1/namespaces", namespace("shop"))
            await api.create("configmaps", config_map("kept"))
            return task, api

        async def end(task: asyncio.Task[None], api: Api) -> None:
            await api.session.close()
            task.cancel()
            await asyncio.wait((task,))

        task, api = runner.run(begin())
        yield Served(runner, api)
        runner.run(end(task, api))
        store.close()


@given(body=st.binary(max_size=60), media=st.sampled_from(BODIES), method=st.sampled_from(["POST", "PUT"]))
def test_bytes_that_mean_nothing(served: Served, body: bytes, media: str, method: str) -> None:
    served.ask(method, "configmaps" if method == "POST" else "configmaps/other", body, media)


@given(document=_like_objects, media=st.sampled_from(["json", "yaml"]))
def test_documents_of_any_shape(served: Served, document: Any, media: str) -> None:
    served.ask("POST", "configmaps?dryRun=All", json.dumps(document).encode(), media)
    served.ask("DELETE", "configmaps/nobody", json.dumps(document).encode(), media)


@given(patch=_operations | _like_objects, media=st.sampled_from(PATCHES))
def test_patches_of_any_shape(served: Served, patch: Any, media: str) -> None:
    served.ask("PATCH", "configmaps/kept?dryRun=All&fieldManager=me", json.dumps(patch).encode(), media)


@given(text=st.text(max_size=20), media=st.sampled_from(PATCHES))
def test_patches_that_are_none(served: Served, text: str, media: str) -> None:
    served.ask("PATCH", "configmaps/kept?dryRun=All&fieldManager=me", text.encode("utf-8", "replace"), media)


@given(labels=_selector, fields=_selector)
def test_selectors_of_any_kind(served: Served, labels: str, fields: str) -> None:
    found = served.ask("GET", f"configmaps?labelSelector={quote(labels)}&fieldSelector={quote(fields)}")
    assert found["kind"] in {"ConfigMapList", "Status"}


@given(
    token=st.text(max_size=20)
    | _json.map(lambda v: base64.urlsafe_b64encode(json.dumps(v).encode()).decode())
)
def test_continue_tokens_that_nobody_gave(served: Served, token: str) -> None:
    found = served.ask("GET", f"configmaps?limit=1&continue={quote(token)}")
    assert found["kind"] == "ConfigMapList" or found["reason"] in {"BadRequest", "Expired"}


_numbers = st.sampled_from(["", "0", "1", "-1", "x", "99999999999999999999", "1.5", "true"])


@given(
    query=st.fixed_dictionaries(
        {},
        optional={
            "limit": _numbers,
            "timeoutSeconds": _numbers,
            "resourceVersion": st.sampled_from(["", "0", "1", "x", "-1"]),
            "resourceVersionMatch": st.sampled_from(["", "Exact", "NotOlderThan", "Other"]),
            "sendInitialEvents": st.sampled_from(["true", "false", "x"]),
            "dryRun": st.sampled_from(["", "All", "None"]),
            "fieldValidation": st.sampled_from(["", "Strict", "None"]),
            "propagationPolicy": st.sampled_from(["", "Orphan", "None"]),
            "gracePeriodSeconds": _numbers,
        },
    )
)
def test_options_of_any_kind(served: Served, query: dict[str, str]) -> None:
    text = "&".join(f"{name}={quote(value)}" for name, value in query.items())
    served.ask("GET", f"configmaps?{text}")
    served.ask("POST", f"configmaps?{text}&dryRun=All", json.dumps(config_map("made")).encode())
    served.ask("DELETE", f"configmaps/nobody?{text}")


def test_objects_that_are_too_large(served: Served) -> None:
    large = config_map("large") | {"data": {"text": "x" * (3 << 20)}}
    assert served.ask("POST", "configmaps", json.dumps(large).encode())["reason"] == "RequestEntityTooLarge"
    fits = config_map("fits") | {"data": {"text": "x" * ((1 << 20) - 100)}}
    assert served.ask("POST", "configmaps?dryRun=All", json.dumps(fits).encode())["kind"] == "ConfigMap"
    deep = b"[" * 100_000 + b"]" * 100_000
    assert served.ask("POST", "configmaps", deep)["reason"] == "BadRequest"
