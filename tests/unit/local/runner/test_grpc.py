"""The gRPC probe asks a server of gRPC's own library."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from netloom.local.runner.grpc import grpc_check

HOST = "127.0.0.1"


class Health(grpc.GenericRpcHandler):
    """Answers Check from a table of services."""

    def __init__(self, states: dict[str, int]) -> None:
        self._states = states

    def service(self, handler_call_details):
        if handler_call_details.method == "/grpc.health.v1.Health/Check":
            return grpc.unary_unary_rpc_method_handler(self._check)
        return None

    def _check(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        name = request[3 if len(request) > 129 else 2 :].decode()  # field 1, its length, the text
        if name not in self._states:
            context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        state = self._states[name]
        return bytes([8, state]) if state else b""


@pytest.fixture(scope="module")
def port():
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((Health({"": 1, "down": 2, "who": 0, "x" * 200: 1}),))
    number = server.add_insecure_port(f"{HOST}:0")
    server.start()
    yield number
    server.stop(None).wait()


@pytest.mark.parametrize(
    ("service", "ok", "said"),
    [
        ("", True, ""),
        ("x" * 200, True, ""),
        ("down", False, "NOT_SERVING"),
        ("who", False, "UNKNOWN"),
        ("nobody", False, "does not implement"),
    ],
)
async def test_a_service_says_how_it_is(port: int, service: str, ok: bool, said: str):
    outcome = await grpc_check(HOST, port, service)
    assert outcome.ok is ok
    assert said in outcome.detail


async def test_a_server_without_the_service_fails():
    server = grpc.server(ThreadPoolExecutor(1))
    number = server.add_insecure_port(f"{HOST}:0")
    server.start()
    try:
        outcome = await grpc_check(HOST, number, "")
        assert (outcome.ok, "does not implement" in outcome.detail) == (False, True)
    finally:
        server.stop(None).wait()


async def test_nobody_there_fails():
    with socket.create_server((HOST, 0)) as closed:
        number = closed.getsockname()[1]
    outcome = await grpc_check(HOST, number, "")
    assert "failed to connect service" in outcome.detail
