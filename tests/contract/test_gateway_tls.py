"""TLS at doors and towards backends, streams, gRPC, HTTP/2: with curl, openssl and h2load."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from tests.contract.gateway_tls import Authority, listener, tls_door
from tests.contract.gateway_world import (
    GATEWAY,
    HERE,
    Answer,
    backend,
    curl,
    engine,
    free_port,
    plan,
    pool,
    rule,
    run,
    share,
    source,
)  # fmt: skip

from netloom.model.gateways.plan import (
    BackendTls,
    Certificate,
    ClientCertificates,
    Door,
    Host,
    ListenerTls,
    PoolProtocol,
    Stream,
    Transport,
)  # fmt: skip


def web(name: str) -> Host:
    return Host(name, (rule("/"),))


async def ask(port: int, name: str, *words: str, host: str = "") -> Answer:
    extra = ("-H", f"Host: {host}") if host else ()
    return await curl(f"https://{name}:{port}/", "--resolve", f"{name}:{port}:{HERE}", *words, *extra)


async def shown(port: int, name: str, *words: str) -> str:
    """Subject of the certificate that a client is shown; empty: no handshake."""
    _, out, _ = await run(
        "openssl", "s_client", "-connect", f"{HERE}:{port}", *(("-servername", name) if name else ("-noservername",)), *words,
        stdin=b"",
    )  # fmt: skip
    return next(
        (
            line.split("CN = ")[1]
            for line in out.decode().splitlines()
            if line.startswith("subject=") and "CN = " in line
        ),
        "",
    )


async def test_each_name_has_its_certificate_and_listeners_stay_apart():
    port, authority = free_port(), Authority()
    one = ListenerTls((authority.certificate("one", "one.example"),))
    wild = ListenerTls(
        (authority.certificate("wild", "*.wild.example"), authority.certificate("deep", "a.wild.example"))
    )
    rest = ListenerTls((authority.certificate("rest", "rest.example"),))
    async with backend("a") as a, engine() as made:
        door = tls_door(
            port,
            listener("one", "one.example", one, web("one.example")),
            listener("wild", "*.wild.example", wild, web("*.wild.example")),
            listener("rest", "", rest, web("")),
        )
        await made.apply(plan([door], pool("shop/web/80", a.port)))
        wanted = {
            "one.example": "one", "a.wild.example": "deep", "b.wild.example": "wild", "x.example": "rest", "rest.example": "rest", "": "rest",
        }  # fmt: skip
        assert {name: await shown(port, name) for name in wanted} == wanted
        assert (await ask(port, "one.example")).said["headers"]["x-forwarded-proto"] == ["https"]
        assert (await ask(port, "b.wild.example", host="B.wild.example:443")).status == 200
        assert (await ask(port, "one.example", host="b.wild.example")).status == 421
        assert (await ask(port, "one.example", "--http2")).version == "2"
        assert (await ask(port, "one.example", "--http1.1")).version == "1.1"


async def test_old_versions_are_refused():
    port, authority = free_port(), Authority()
    tls = ListenerTls((authority.certificate("one", "one.example"),))
    strict = ListenerTls((authority.certificate("strict", "strict.example"),), least_version="TLSv1.3")
    async with engine() as made:
        door = tls_door(
            port,
            listener("one", "one.example", tls, web("one.example")),
            listener("strict", "strict.example", strict),
        )
        await made.apply(plan([door]))
        old = ("-cipher", "ALL:@SECLEVEL=0")
        assert await shown(port, "one.example", "-tls1_2") == "one"
        assert await shown(port, "one.example", "-tls1", *old) == ""
        assert await shown(port, "one.example", "-tls1_1", *old) == ""
        assert await shown(port, "strict.example", "-tls1_2") == ""
        assert await shown(port, "strict.example", "-tls1_3") == "strict"


async def test_clients_prove_who_they_are(tmp_path: Path):
    port, authority, stranger = free_port(), Authority(), Authority()
    own = ListenerTls((authority.certificate("one", "one.example"),), ClientCertificates(authority.pem))
    free = ListenerTls((authority.certificate("free", "free.example"),))
    files = []
    for number, who in enumerate((authority.certificate("ann", "ann"), stranger.certificate("bob", "bob"))):
        file = tmp_path / f"{number}.pem"
        file.write_text(who.chain + who.key)
        files.append(str(file))
    async with backend("a") as a, engine() as made:
        door = tls_door(
            port, listener("one", "one.example", own, web("one.example")), listener("free", "free.example", free, web("free.example"))
        )  # fmt: skip
        await made.apply(plan([door], pool("shop/web/80", a.port)))
        assert (await ask(port, "one.example", "--cert", files[0])).status == 200
        assert (await ask(port, "one.example")).status == 0
        assert (await ask(port, "one.example", "--cert", files[1])).status == 0
        assert (await ask(port, "free.example")).status == 200
        assert (await ask(port, "free.example", host="one.example")).status == 421, "no way round"


async def test_clients_that_need_not_prove_it_are_let_in_whatever_they_show(tmp_path: Path):
    port, authority, stranger = free_port(), Authority(), Authority()
    clients = ClientCertificates(authority.pem, is_required=False)
    own = ListenerTls((authority.certificate("one", "one.example"),), clients)
    who = stranger.certificate("bob", "bob")
    file = tmp_path / "bob.pem"
    file.write_text(who.chain + who.key)
    async with backend("a") as a, engine() as made:
        door = tls_door(port, listener("one", "one.example", own, web("one.example")))
        await made.apply(plan([door], pool("shop/web/80", a.port)))
        assert (await ask(port, "one.example")).status == 200
        assert (await ask(port, "one.example", "--cert", str(file))).status == 200


async def test_a_broken_certificate_takes_only_its_listener_and_comes_back():
    port, authority = free_port(), Authority()
    good = authority.certificate("good", "good.example")
    fine = authority.certificate("bad", "bad.example")
    bad = Certificate(fine.source, fine.chain, good.key, fine.names, fine.not_after)
    torn = Certificate(
        source("Secret", "torn"), fine.chain[:200], fine.key, ("torn.example",), fine.not_after
    )

    def door(second: Certificate) -> Door:
        return tls_door(
            port,
            listener("good", "good.example", ListenerTls((good,)), web("good.example")),
            listener("bad", "bad.example", ListenerTls((second,)), web("bad.example")),
            listener("torn", "torn.example", ListenerTls((torn,)), web("torn.example")),
        )

    async with backend("a") as a, engine() as made:
        pools = (pool("shop/web/80", a.port),)
        applied = await made.apply(plan([door(bad)], *pools))
        assert {finding.source.name for finding in applied.findings} == {"bad", "torn"}
        assert (await ask(port, "good.example")).status == 200
        assert (await ask(port, "bad.example")).status == 0
        applied = await made.apply(plan([door(fine)], *pools))
        assert {finding.source.name for finding in applied.findings} == {"torn"}
        assert await shown(port, "bad.example") == "bad"
        again = await made.apply(plan([door(bad)], *pools))
        assert {finding.source.name for finding in again.findings} == {"bad", "torn"}
        assert (await ask(port, "good.example")).status == 200


async def test_certificates_change_while_it_runs():
    port, authority = free_port(), Authority()

    def door(*names: str) -> Door:
        return tls_door(
            port,
            *(
                listener(n, f"{n}.example", ListenerTls((certificates[n],)), web(f"{n}.example"))
                for n in names
            ),
        )

    certificates = {name: authority.certificate(name, f"{name}.example") for name in ("one", "two")}
    async with engine() as made:
        await made.apply(plan([door("one", "two")]))
        before = made.pid
        serials = {name: await _serial(port, name) for name in certificates}
        certificates |= {"two": authority.certificate("two", "two.example")}
        applied = await made.apply(plan([door("one", "two")]))
        assert (applied.is_reloaded, applied.commands) == (False, 2)
        assert made.pid == before
        assert await _serial(port, "one") == serials["one"]
        assert await _serial(port, "two") != serials["two"]


async def _serial(port: int, name: str) -> bytes:
    _, out, _ = await run(
        "openssl", "s_client", "-connect", f"{HERE}:{port}", "-servername", f"{name}.example", stdin=b""
    )
    return out[out.index(b"-----BEGIN") : out.index(b"-----END")]


def server_context(certificate: Certificate) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(certificate.chain + certificate.key)
        file.flush()
        context.load_cert_chain(file.name)
    return context


async def test_backends_are_known_by_their_certificates():
    port, authority, other = free_port(), Authority(), Authority()
    context = server_context(authority.certificate("inside", "inside.example"))
    async with backend("a", ssl=context) as a, engine() as made:
        ways = {
            "good": BackendTls("inside.example", authority.pem),
            "san": BackendTls("any.example", authority.pem, ("inside.example",)),
            "name": BackendTls("other.example", authority.pem),
            "authority": BackendTls("inside.example", other.pem),
            "system": BackendTls("inside.example"),
        }
        rules = tuple(rule(f"/{name}", to=f"shop/{name}/443") for name in ways)
        pools = (pool(f"shop/{name}/443", a.port, tls=tls) for name, tls in ways.items())
        door = Door(
            GATEWAY,
            source("Gateway", "edge"),
            80,
            Transport.HTTP,
            (listener("http", "", None, Host("", rules)),),
            port,
        )
        applied = await made.apply(plan([door], *pools))
        assert applied.findings == ()
        found = {name: (await curl(f"http://{HERE}:{port}/{name}")).status for name in ways}
        assert found == {"good": 200, "san": 200, "name": 503, "authority": 503, "system": 503}


@contextlib.asynccontextmanager
async def echo(name: str, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Says its name, then everything that it hears."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            writer.write(f"{name}:".encode())
            while data := await reader.read(1000):
                writer.write(data)
        writer.close()

    server = await asyncio.start_server(serve, str(HERE), 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def say(port: int, name: str | None = None) -> bytes:
    """What a stream answers to "hello"; empty where it is closed."""
    context = None
    if name is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    try:
        async with asyncio.timeout(8):
            reader, writer = await asyncio.open_connection(str(HERE), port, ssl=context, server_hostname=name)
            writer.write(b"hello")
            found = b""
            while not found.endswith(b"hello") and (data := await reader.read(100)):
                found += data
            writer.close()
            return found
    except OSError:
        return b""


def stream(hostname: str, *keys: str, weights: tuple[int, ...] = ()) -> Stream:
    shares = tuple(share(key, weight) for key, weight in zip(keys, weights or (1,) * len(keys), strict=True))
    return Stream(hostname, shares, f"TLSRoute shop/{hostname or 'any'}", source("TLSRoute", "t"))


async def test_streams_go_by_server_name_or_as_they_are():
    tcp, tls, mixed, authority = free_port(), free_port(), free_port(), Authority()
    contexts = [server_context(authority.certificate(n, f"{n}.example")) for n in ("x", "y")]
    own = ListenerTls((authority.certificate("web", "web.example"),))
    ended = ListenerTls((authority.certificate("ended", "ended.example"),))
    async with (
        echo("plain") as plain, echo("x", contexts[0]) as x, echo("y", contexts[1]) as y, backend("a") as a, engine() as made,
    ):  # fmt: skip
        tcp_pool = {"protocol": PoolProtocol.TCP}
        pools = (
            pool("shop/plain/1", plain, **tcp_pool), pool("shop/x/1", x, **tcp_pool), pool("shop/y/1", y, **tcp_pool),
            pool("shop/none/1", **tcp_pool), pool("shop/web/80", a.port),
        )  # fmt: skip
        passed = listener(
            "pass",
            "*.example",
            None,
            streams=(stream("x.example", "shop/x/1"), stream("*.example", "shop/y/1")),
            is_stream=True,
        )
        doors = [
            Door(GATEWAY, source("Gateway", "edge"), 9000, Transport.TCP, (
                listener("tcp", "", None, streams=(stream("", "shop/plain/1", "shop/none/1", weights=(1, 0)),), is_stream=True),), tcp),
            tls_door(tls, passed),
            tls_door(
                mixed,
                listener("web", "web.example", own, web("web.example")),
                listener("ended", "ended.example", ended, streams=(stream("ended.example", "shop/plain/1"),), is_stream=True),
                passed,
            ),
        ]  # fmt: skip
        applied = await made.apply(plan(doors, *pools))
        assert applied.findings == ()
        assert await say(tcp) == b"plain:hello"
        assert await say(tls, "x.example") == b"x:hello"
        assert await say(tls, "z.y.example") == b"y:hello"
        assert await say(tls, "other.test") == b""
        assert await say(tls) == b"", "no TLS at all"
        assert await say(mixed, "x.example") == b"x:hello"
        assert await say(mixed, "ended.example") == b"plain:hello"
        got = await ask(mixed, "web.example", "--http2")
        assert (got.status, got.version, got.said["headers"]["x-forwarded-for"]) == (200, "2", [str(HERE)])


async def test_calls_reach_backends_over_http2():
    port, authority = free_port(), Authority()
    inner = free_port()
    async with backend("a") as a, engine() as made, engine() as second:
        # the backend that speaks HTTP/2 with prior knowledge is another gateway
        await second.apply(plan([_plain(inner, Host("", (rule("/"),)))], pool("shop/web/80", a.port)))
        rules = (
            rule("/grpc", is_grpc=True, to="shop/h2/80"),
            rule("/dead", is_grpc=True, to="shop/dead/80"),
            rule("/", to="shop/h2/80"),
        )
        tls = ListenerTls((authority.certificate("one", "one.example"),))
        door = tls_door(port, listener("one", "one.example", tls, Host("one.example", rules)))
        h2 = {"protocol": PoolProtocol.H2C}
        await made.apply(
            plan([door], pool("shop/h2/80", inner, **h2), pool("shop/dead/80", free_port(), **h2))
        )
        got = await ask(port, "one.example", "--http2")
        assert (got.status, got.version) == (200, "2")
        name = f"one.example:{port}"
        call = await curl(f"https://{name}/grpc/x", "--resolve", f"{name}:{HERE}", "--http2", "-d", "x")
        assert call.status == 200
        dead = await curl(f"https://{name}/dead/x", "--resolve", f"{name}:{HERE}", "--http2", "-d", "x")
        assert (dead.status, dead.header("grpc-status")) == (200, "14")
        assert dead.body == ""


def _plain(port: int, *hosts: Host) -> Door:
    return Door(
        GATEWAY, source("Gateway", "edge"), 80, Transport.HTTP, (listener("http", "", None, *hosts),), port
    )
