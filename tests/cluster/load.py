"""Load from inside pods: short connections one after the other, and long ones over which request follows request.

Nothing is tried again: whatever goes wrong is a failure, and is told in the end with what came of the rest.
"""

LOAD = """
import asyncio

HOST, PORT = ARGUMENTS[0], 80
PACE_S = 0.01
SHORT, LONG = 4, 4
seen = {"short": 0, "long": 0, "connections": 0, "pods": {}, "failures": []}
stop = asyncio.Event()
BEGAN = time.monotonic()


async def answer(reader, writer, kind):
    # one request on an open connection: whether the server closes it afterwards
    keep = "keep-alive" if kind == "long" else "close"
    writer.write(f"GET / HTTP/1.1\\r\\nHost: cart\\r\\nAccept: application/json\\r\\nConnection: {keep}\\r\\n\\r\\n".encode())
    head = (await reader.readuntil(b"\\r\\n\\r\\n")).decode().lower()
    if not head.startswith("http/1.1 200 "):
        raise OSError(head.splitlines()[0])
    length = next(line for line in head.split("\\r\\n") if line.startswith("content-length:"))
    said = json.loads(await reader.readexactly(int(length.split(":")[1])))
    seen[kind] += 1
    seen["pods"][said["pod"]] = seen["pods"].get(said["pod"], 0) + 1
    return "connection: close" in head


async def client(kind):
    while not stop.is_set():
        step = "connect"
        try:
            async with asyncio.timeout(10):
                reader, writer = await asyncio.open_connection(HOST, PORT)
            seen["connections"] += 1
            closed = False
            while not closed and not stop.is_set():
                step = "request"
                async with asyncio.timeout(10):
                    closed = await answer(reader, writer, kind) or kind == "short"
                await pause()
            writer.close()
        except (OSError, EOFError, TimeoutError) as error:
            own = f"from port {writer.get_extra_info('sockname')[1]}" if step == "request" else ""
            at = f"{time.monotonic() - BEGAN:.2f} s"
            seen["failures"].append(f"{kind} {step} {own} after {at}: {type(error).__name__} {error}")
            await pause()


async def pause():
    try:
        async with asyncio.timeout(PACE_S):
            await stop.wait()
    except TimeoutError:
        pass


async def main():
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin.fileno(), stop.set)
    async with asyncio.TaskGroup() as group:
        for _ in range(SHORT):
            group.create_task(client("short"))
        for _ in range(LONG):
            group.create_task(client("long"))
        tell("going")
    tell(seen)


asyncio.run(main())
"""


def load_pod(place, name, node):
    """A pod on a node that load comes from."""
    container = {"name": "load", "image": "example/load", "ports": [{"containerPort": 8080}]}
    place.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": {"app": name}},
            "spec": {"nodeName": node, "terminationGracePeriodSeconds": 0, "containers": [container]},
        }
    )
    place("wait", f"pod/{name}", "--for=condition=Ready", "--timeout=30s")
    return name


def start_load(place, address, nodes):
    scripts = [place.start_python(load_pod(place, f"load-{node}", node), LOAD, address) for node in nodes]
    for script in scripts:
        assert script.fact() == "going"
    return scripts


def end_load(scripts):
    for script in scripts:
        script.say("stop\n")
    return [script.fact() for script in scripts]
