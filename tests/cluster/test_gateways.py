"""Gateway API through a whole cluster: from kubectl apply to requests from outside, changes and failures under traffic, and nothing left."""

import json
import os
import select
import signal

import pytest
from tests.cluster.conftest import PYTHON, _place, processes
from tests.cluster.gate import Gate, certificate, condition, listener, route, terminates, to
from tests.cluster.load import LOAD

pytestmark = pytest.mark.cluster

SHOP, OTHER = "shop.example", "other.example"


def gateway(*listeners, name="gate"):
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": name},
        "spec": {"gatewayClassName": "netloom", "listeners": list(listeners)},
    }


@pytest.fixture(scope="module")
def gate(command, plain, tmp_path_factory):
    """A Gateway with every kind of listener, and three backends; tests add routes with hosts of their own."""
    keys = tmp_path_factory.mktemp("keys")
    for place in _place(command, plain):
        for name in ("web", "api"):
            place.deploy(name, wait=False)
            place.service(name)
        place.deploy(
            "echo", ports=[{"containerPort": 7000}, {"containerPort": 5353, "protocol": "UDP"}], wait=False
        )
        place.service("echo", {"name": "tcp", "port": 7000}, {"name": "udp", "port": 5353, "protocol": "UDP"})
        for names in ((SHOP, "*.shop.example"), (OTHER,)):
            cert, key = certificate(keys, *names)
            place("create", "secret", "tls", names[0].replace(".", "-"), f"--cert={cert}", f"--key={key}")
        place.apply(
            gateway(
                listener("http", 80, "HTTP"),
                listener("shop", 443, "HTTPS", "*.shop.example", **terminates("shop-example")),
                listener("exact", 443, "HTTPS", SHOP, **terminates("shop-example")),
                listener("other", 443, "HTTPS", OTHER, **terminates("other-example")),
                listener("raw", 443, "TLS", "raw.example", tls={"mode": "Passthrough"}),
                listener("tcp", 7000, "TCP"),
                listener("udp", 5353, "UDP"),
            )
        )
        for name in ("web", "api", "echo"):
            place.rolled_out(name)
        place("wait", "gateway/gate", "--for=condition=Programmed", "--timeout=30s")
        address = place.get("gateway", "gate")["status"]["addresses"][0]["value"]
        yield Gate(command, place, address)


def wait_route(place, name, kind="httproute"):
    """Until the route is accepted, with its references."""
    for type_ in ("Accepted", "ResolvedRefs"):
        path = f"jsonpath={{.status.parents[0].conditions[?(@.type=='{type_}')].status}}=True"
        place("wait", f"{kind}/{name}", f"--for={path}", "--timeout=20s")


def add(gate, *routes):
    gate.place.apply(*routes)
    for one in routes:
        wait_route(gate.place, one["metadata"]["name"], one["kind"].lower())


def test_hosts_paths_headers_and_the_client_that_is_seen(gate):
    add(
        gate,
        route("paths", "paths.example", to("web"), to("api", matches=[
            {"path": {"type": "PathPrefix", "value": "/api"}},
            {"path": {"type": "Exact", "value": "/exact"}},
            {"headers": [{"name": "x-team", "value": "api"}]},
        ])),
    )  # fmt: skip
    assert gate.until("paths.example", "a.get('status') == 200")["said"]["container"] == "web"
    said = {
        path: gate.ask("paths.example", path)["said"]["container"]
        for path in ("/", "/api", "/api/v1", "/apis", "/exact", "/exact/no")
    }
    assert said == {
        "/": "web",
        "/api": "api",
        "/api/v1": "api",
        "/apis": "web",
        "/exact": "api",
        "/exact/no": "web",
    }
    answer = gate.ask("paths.example", headers={"x-team": "api"})
    assert answer["said"]["container"] == "api"
    assert answer["said"]["headers"]["x-forwarded-for"]
    assert gate.ask("nobody.example")["status"] == 404


def test_the_service_and_slices_of_a_gateway(gate):
    service = gate.place.get("service", "gate-netloom")
    assert service["metadata"]["labels"]["gateway.networking.k8s.io/gateway-name"] == "gate"
    assert service["metadata"]["ownerReferences"][0]["kind"] == "Gateway"
    assert service["status"]["loadBalancer"]["ingress"][0]["ip"] == gate.address
    node_port = next(p["nodePort"] for p in service["spec"]["ports"] if p["port"] == 80)
    slices = gate.place.get("endpointslices", "-l", "kubernetes.io/service-name=gate-netloom")["items"]
    (http,) = [s for s in slices if s["ports"][0]["name"] == "p80-tcp"]
    assert http["ports"][0]["port"] == node_port
    assert {e["nodeName"] for e in http["endpoints"] if e["conditions"]["ready"]} == {
        "node-1",
        "node-2",
        "node-3",
    }
    add(gate, route("everywhere", "everywhere.example", to("web")))
    # by every way that any Service has: LoadBalancer address, node port, and ClusterIP from a pod
    assert gate.until("everywhere.example", "a.get('status') == 200")["status"] == 200
    for number in range(3):
        words = ("-o", "/dev/null", "-w", "%{http_code}", "-H", "Host: everywhere.example")
        assert gate.curl(*words, f"http://172.30.0.{11 + number}:{node_port}/").stdout == "200"
    address = service["spec"]["clusterIP"]
    words = (
        "curl",
        "-s",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        "-H",
        "Host: everywhere.example",
        f"http://{address}/",
    )
    assert gate.place.run(gate.place.pod("web"), *words).stdout == "200"


def test_certificates_by_server_name_and_http2(gate):
    add(gate, route("secure", "deep.shop.example", to("web")), route("secure-other", OTHER, to("api")))
    gate.until("deep.shop.example", "a.get('status') == 200", port=443, name="deep.shop.example")
    names = gate.outside(
        "print(json.dumps([names_of(connect(ARGUMENTS['address'], 443, n)) for n in ('deep.shop.example', 'other.example')]))"
    )
    assert names == [[SHOP, "*.shop.example"], [OTHER]]
    words = ("-k", "--http2", "-o", "/dev/null", "-w", "%{http_version} %{http_code}")
    resolve = ("--resolve", f"{OTHER}:443:{gate.address}")
    assert gate.curl(*words, *resolve, f"https://{OTHER}/").stdout == "2 200"
    done = gate.command.run(
        [
            *_client(gate),
            "openssl",
            "s_client",
            "-connect",
            f"{gate.address}:443",
            "-servername",
            OTHER,
            "-tls1_1",
        ],
        check=False,
    )
    assert done.returncode != 0, "TLS 1.1 is refused"


def _client(gate):
    return [gate.command.netloom_path, "client", "--name", gate.place.cluster, "--"]


def test_redirect_rewrite_and_headers(gate):
    add(
        gate,
        route("filters", "filters.example",
            {"matches": [{"path": {"value": "/old"}}], "filters": [{"type": "RequestRedirect", "requestRedirect": {
                "scheme": "https", "statusCode": 301, "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/new"}}}]},
            to("web", matches=[{"path": {"value": "/cart"}}], filters=[
                {"type": "URLRewrite", "urlRewrite": {"hostname": "inside.example",
                    "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/v2"}}},
                {"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "x-a", "value": "1"}], "remove": ["x-b"]}},
                {"type": "ResponseHeaderModifier", "responseHeaderModifier": {"add": [{"name": "x-c", "value": "2"}]}},
            ])),
    )  # fmt: skip
    answer = gate.until("filters.example", "a.get('status') == 200", "/cart/7", headers={"x-b": "gone"})
    said = answer["said"]
    assert (said["path"], said["headers"]["host"], said["headers"]["x-a"]) == ("/v2/7", "inside.example", "1")
    assert "x-b" not in said["headers"]
    assert answer["headers"]["x-c"] == "2"
    moved = gate.ask("filters.example", "/old/7?x=1")
    assert moved["status"] == 301
    assert moved["headers"]["location"] == "https://filters.example/new/7?x=1"


def test_weights(gate):
    add(gate, route("weights", "weights.example", to(("web", 9), ("api", 1))))
    gate.until("weights.example", "a.get('status') == 200")
    counts = gate.outside(
        "import collections\n"
        "said = collections.Counter(ask(ARGUMENTS['address'], 80, 'weights.example')['said']['container'] for _ in range(300))\n"
        "print(json.dumps(said))"
    )
    assert set(counts) == {"web", "api"}
    assert 230 <= counts["web"] <= 299


def test_streams(gate):
    """TCP as it is, TLS as it is by server name, and UDP."""
    add(
        gate,
        route("tcp", None, to("echo", port=7000), kind="TCPRoute", parent={"sectionName": "tcp"}),
        route("udp", None, to("echo", port=5353), kind="UDPRoute", parent={"sectionName": "udp"}),
    )
    talk = (
        "import time, select\n"
        "def line(kind):\n"
        "    s = socket.socket(socket.AF_INET, kind); s.settimeout(2); s.connect((ARGUMENTS['address'], ARGUMENTS['port']))\n"
        "    s.send(b'hello\\n'); return json.loads(s.recv(4096))\n"
        "end = time.monotonic() + 15\n"
        "while True:\n"
        "    said = or_error(line, socket.SOCK_DGRAM if ARGUMENTS['udp'] else socket.SOCK_STREAM)\n"
        "    if 'error' not in said or time.monotonic() > end: break\n"
        "    select.select([], [], [], 0.05)\n"
        "print(json.dumps(said))\n"
    )
    assert gate.outside(talk, port=7000, udp=False).get("container") == "echo"
    assert gate.outside(talk, port=5353, udp=True).get("container") == "echo"


@pytest.fixture
def server(gate, tmp_path):
    """A pod in which a test runs servers of its own, with Services for ports 9000 and 9443."""
    place = gate.place
    place.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "server", "labels": {"app": "server"}},
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "containers": [{"name": "c", "image": "example/server"}],
            },
        }
    )
    place("wait", "pod/server", "--for=condition=Ready", "--timeout=30s")
    # by hand: stand-ins listen at all ports of Services that select them
    ports = (("plain", 9000), ("tls", 9443), ("grpc", 9002))
    place.apply(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "server"},
            "spec": {
                "ports": [
                    {
                        "name": name,
                        "port": port,
                        "appProtocol": "kubernetes.io/h2c" if name == "grpc" else "tcp",
                    }
                    for name, port in ports
                ]
            },
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": "server", "labels": {"kubernetes.io/service-name": "server"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [place.get("pod", "server")["status"]["podIP"]]}],
            "ports": [{"name": name, "port": port, "protocol": "TCP"} for name, port in ports],
        },
    )
    yield place
    place("delete", "pod/server", "--grace-period=0", "--wait=false")


WEBSOCKET = """
import base64, hashlib
listener = socket.create_server(("", 9000))
tell("listens")
while True:
    one, _ = listener.accept()
    head = b""
    while b"\\r\\n\\r\\n" not in head:
        head += one.recv(4096)
    key = next(l.split(b":", 1)[1].strip() for l in head.split(b"\\r\\n") if l.lower().startswith(b"sec-websocket-key"))
    accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    one.sendall(b"HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\nSec-WebSocket-Accept: " + accept + b"\\r\\n\\r\\n")
    one.sendall(b"\\x81\\x05hello")
    said = one.recv(100)
    one.sendall(b"\\x82" + bytes([len(said)]) + said)
    one.close()
"""


def test_websocket(gate, server):
    process = server.start_python("server", WEBSOCKET)
    assert process.fact() == "listens"
    add(gate, route("socket", "socket.example", to("server", port=9000)))
    code = (
        "s = connect(ARGUMENTS['address'], 80)\n"
        "s.sendall(b'GET /chat HTTP/1.1\\r\\nHost: socket.example\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n'\n"
        "          b'Sec-WebSocket-Version: 13\\r\\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\\r\\n\\r\\n')\n"
        "got = b''\n"
        "while not got.endswith(b'hello'): got += s.recv(4096)\n"
        "s.sendall(b'\\x81\\x02hi')\n"
        "back = s.recv(100)\n"
        "print(json.dumps([got.split()[1].decode(), b's3pPLMBiTxaQ9kYGzzhZRbK+xOo=' in got, back[2:].hex()]))\n"
    )
    assert gate.outside(code) == ["101", True, "81026869"]


def test_tls_passed_through_ends_at_the_backend(gate, server, tmp_path):
    cert, key = certificate(tmp_path, "raw.example", "inside.example")
    lines = (
        "import ssl\n"
        "context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n"
        f"open('/tmp/raw.pem', 'w').write({cert.read_text() + key.read_text()!r})\n"
        "context.load_cert_chain('/tmp/raw.pem')\n"
        "listener = context.wrap_socket(socket.create_server(('', 9443)), server_side=True)\n"
        "tell('listens')\n"
        "while True:\n"
        "    try: one, _ = listener.accept()\n"
        "    except OSError: continue\n"
        "    one.recv(100); one.sendall(b'raw'); one.close()\n"
    )
    process = server.start_python("server", lines)
    assert process.fact() == "listens"
    add(
        gate,
        route("raw", "raw.example", to("server", port=9443), kind="TLSRoute", parent={"sectionName": "raw"}),
    )
    code = (
        "s = connect(ARGUMENTS['address'], 443, 'raw.example')\n"
        "s.sendall(b'x')\n"
        "print(json.dumps([names_of(s), s.recv(10).decode()]))\n"
    )
    assert gate.outside(code) == [["raw.example", "inside.example"], "raw"]


GRPC_SERVER = """
import grpc
from concurrent import futures

def get(request, context):
    context.set_trailing_metadata((("x-path", "Get"),))
    return b"got " + request

def watch(request, context):
    for n in range(3):
        yield b"%d" % n

def chat(requests, context):
    for one in requests:
        yield b"heard " + one

handlers = {
    "Get": grpc.unary_unary_rpc_method_handler(get),
    "Watch": grpc.unary_stream_rpc_method_handler(watch),
    "Chat": grpc.stream_stream_rpc_method_handler(chat),
    "Other": grpc.unary_unary_rpc_method_handler(get),
}
server = grpc.server(futures.ThreadPoolExecutor(4))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("shop.Cart", handlers),))
assert server.add_insecure_port("0.0.0.0:9002") == 9002
server.start()
tell("serves")
server.wait_for_termination()
"""
GRPC_CLIENT = """
import grpc, queue

channel = grpc.insecure_channel(f"{ARGUMENTS['address']}:80", [("grpc.default_authority", "grpc.example")])
get, other = (channel.unary_unary(f"/shop.Cart/{name}") for name in ("Get", "Other"))
first = grpc.StatusCode.UNIMPLEMENTED
while first is grpc.StatusCode.UNIMPLEMENTED:  # until the route is in force
    try:
        answer, call = get.with_call(b"a", timeout=20, wait_for_ready=True)
        first = call.code()
    except grpc.RpcError as error:
        first = error.code()
told = {"get": [answer.decode(), dict(call.trailing_metadata())["x-path"]]}
told["watch"] = [one.decode() for one in channel.unary_stream("/shop.Cart/Watch")(b"", timeout=20)]
said = queue.SimpleQueue()
said.put(b"one")
heard = channel.stream_stream("/shop.Cart/Chat")(iter(said.get, None), timeout=20)
told["chat"] = [next(heard).decode()]
said.put(b"two")  # only now: the stream goes both ways at once
told["chat"].append(next(heard).decode())
said.put(None)
try:
    other(b"a", timeout=20)
except grpc.RpcError as error:
    told["other"] = error.code().name
print(json.dumps(told))
"""


def test_grpc_by_method(gate, server):
    """A client and a server of gRPC's own library; a method that no rule takes is told as gRPC tells it."""
    process = server.start_in_pod("server", GRPC_SERVER, packages=True)
    assert process.fact() == "serves"
    methods = [{"method": {"service": "shop.Cart", "method": name}} for name in ("Get", "Watch", "Chat")]
    add(gate, route("grpc", "grpc.example", to("server", port=9002, matches=methods), kind="GRPCRoute"))
    assert gate.outside(GRPC_CLIENT) == {
        "get": ["got a", "Get"],
        "watch": ["0", "1", "2"],
        "chat": ["heard one", "heard two"],
        "other": "UNIMPLEMENTED",
    }


def test_a_grant_is_given_and_taken_away(gate, command, plain):
    for far in _place(command, plain):
        far.deploy("far")
        far.service("far")
        rule = {"backendRefs": [{"name": "far", "namespace": far.namespace, "port": 80}]}
        gate.place.apply(route("far", "far.example", rule))
        assert gate.until("far.example", "a.get('status') == 500")["status"] == 500
        refused = condition(gate.place.get("httproute", "far"), "ResolvedRefs")
        assert refused[:2] == ("False", "RefNotPermitted")
        far.apply(
            {
                "apiVersion": "gateway.networking.k8s.io/v1beta1",
                "kind": "ReferenceGrant",
                "metadata": {"name": "let"},
                "spec": {
                    "from": [
                        {
                            "group": "gateway.networking.k8s.io",
                            "kind": "HTTPRoute",
                            "namespace": gate.place.namespace,
                        }
                    ],
                    "to": [{"group": "", "kind": "Service"}],
                },
            }
        )
        assert gate.until("far.example", "a.get('status') == 200")["said"]["container"] == "far"
        wait_route(gate.place, "far")
        far("delete", "referencegrant/let")
        assert gate.until("far.example", "a.get('status') == 500")["status"] == 500
        gate.place("delete", "httproute/far")


def test_a_broken_secret_takes_down_its_own_listener(gate):
    add(gate, route("steady", SHOP, to("web")), route("broken", OTHER, to("web")))
    gate.until(OTHER, "a.get('status') == 200", port=443, name=OTHER)
    good = gate.place.get("secret", "other-example")["data"]
    gate.place(
        "patch",
        "secret/other-example",
        "--type=merge",
        "-p",
        json.dumps({"data": {"tls.key": good["tls.crt"]}}),
    )
    path = (
        "jsonpath={.status.listeners[?(@.name=='other')].conditions[?(@.type=='ResolvedRefs')].status}=False"
    )
    gate.place("wait", "gateway/gate", f"--for={path}", "--timeout=20s")
    live = gate.place.get("gateway", "gate")
    status, reason, message = condition(live, "ResolvedRefs", "other")
    assert (status, reason) == ("False", "InvalidCertificateRef")
    assert "other-example" in message
    assert condition(live, "Programmed", "shop") == ("True", "Programmed", "")
    assert "error" in gate.until(OTHER, "'error' in a", port=443, name=OTHER)
    assert gate.ask(SHOP, port=443, name=SHOP)["status"] == 200
    gate.place("patch", "secret/other-example", "--type=merge", "-p", json.dumps({"data": good}))
    assert gate.until(OTHER, "a.get('status') == 200", port=443, name=OTHER)["status"] == 200


def test_a_killed_haproxy_is_back_within_a_second(gate):
    add(gate, route("killed", "killed.example", to("web")))
    gate.until("killed.example", "a.get('status') == 200")
    engines = [pid for name, pid in processes(gate.command, gate.place.cluster) if name == "haproxy"]
    assert engines
    code = (
        "import time, select\n"
        "began = time.monotonic(); worst = 0.0; good = time.monotonic()\n"
        "print('going', flush=True)\n"
        "while time.monotonic() - began < 4:\n"
        "    if or_error(ask, ARGUMENTS['address'], 80, 'killed.example').get('status') == 200:\n"
        "        worst = max(worst, time.monotonic() - good); good = time.monotonic()\n"
        "    select.select([], [], [], 0.01)\n"
        "print(json.dumps(max(worst, time.monotonic() - good)))\n"
    )
    from tests.cluster.gate import ASK  # noqa: PLC0415 - only here is a client that goes on

    client = gate.command.start(
        *_client(gate), PYTHON, "-u", "-c", ASK + code, json.dumps({"address": gate.address})
    )
    assert client.line() == "going"
    for pid in engines:
        os.kill(pid, signal.SIGKILL)
    worst = json.loads(client.line())
    client.end()
    assert worst < 5.0
    engines_now = [pid for name, pid in processes(gate.command, gate.place.cluster) if name == "haproxy"]
    assert not set(engines) & set(engines_now)


def test_a_gateway_process_that_is_killed_harms_no_connection(gate, kill):
    add(gate, route("process", "process.example", to("web")))
    gate.until("process.example", "a.get('status') == 200")
    kill(gate.place.cluster, "nl-node-1-gatew")
    assert gate.ask("process.example")["status"] == 200
    add(gate, route("process-2", "process-2.example", to("api")))
    assert gate.until("process-2.example", "a.get('status') == 200")["status"] == 200


def test_a_rollout_under_load_loses_no_request(gate):
    place = gate.place
    place.deploy(
        "cart",
        replicas=2,
        lifecycle={"preStop": {"sleep": {"seconds": 1}}},
        readinessProbe={"tcpSocket": {"port": 8080}, "periodSeconds": 1},
    )
    place.service("cart")
    add(gate, route("cart", "cart", to("cart")))
    gate.until("cart", "a.get('status') == 200")
    words = [*_client(gate), PYTHON, "-u", "-c", _in_pod() + LOAD, gate.address]
    load = gate.command.start(*words)
    assert load.fact() == "going"
    for _ in range(2):
        place("rollout", "restart", "deployment/cart")
        place.rolled_out("cart")
        select.select([], [], [], 1.1)  # `rollout restart` refuses a second one within the same second
    load.say("stop\n")
    seen = load.fact()
    load.end()
    assert seen["failures"] == []
    assert seen["short"] > 100
    assert len(seen["pods"]) >= 6, "the load saw the pods change"


def _in_pod():
    from tests.cluster.conftest import IN_POD  # noqa: PLC0415 - as above

    return IN_POD


def test_what_each_node_has_in_force_can_be_asked(gate):
    gate.place.apply(route("asked", "asked.example", to("web")))
    words = ("wait", "--name", gate.place.cluster, "httproute/asked", "-n", gate.place.namespace)
    assert "is in force on node-1, node-2, node-3" in gate.command.netloom(*words).stdout
    assert gate.ask("asked.example")["status"] == 200
    done = gate.command.netloom("gateway", "status", "--name", gate.place.cluster, "--output", "json")
    told = json.loads(done.stdout)
    assert [one["node"] for one in told] == ["node-1", "node-2", "node-3"]
    for one in told:
        doors = {d["port"] for d in one["gateway"]["doors"] if d["gateway"] == f"{gate.place.namespace}/gate"}
        assert doors == {80, 443, 7000, 5353}


def test_a_gateway_that_is_deleted_leaves_nothing(gate, command, plain):
    for place in _place(command, plain):
        place.apply(gateway(listener("http", 8088, "HTTP"), name="short"))
        place("wait", "gateway/short", "--for=condition=Programmed", "--timeout=30s")
        service = place.get("service", "short-netloom")
        node_port = service["spec"]["ports"][0]["nodePort"]
        url = f"http://172.30.0.11:{node_port}/"
        assert gate.curl("-o", "/dev/null", "-w", "%{http_code}", url).stdout == "404"
        place("delete", "gateway/short")
        place("wait", "service/short-netloom", "--for=delete", "--timeout=20s")
        assert place.get("endpointslices")["items"] == []
        code = (
            "import time, select\n"
            "end = time.monotonic() + 10\n"
            "while True:\n"
            "    try: connect('172.30.0.11', ARGUMENTS['port']).close(); gone = False\n"
            "    except OSError: gone = True\n"
            "    if gone or time.monotonic() > end: break\n"
            "    select.select([], [], [], 0.05)\n"
            "print(json.dumps(gone))\n"
        )
        assert gate.outside(code, port=node_port), "nobody listens there any more"
