"""A Gateway under test: its manifest, its certificates, and requests to it from outside of the cluster."""

import json
import subprocess
from pathlib import Path

from tests.cluster.conftest import WITH_PACKAGES

ASK = r"""
import http.client, socket, ssl, sys, json

def connect(address, port, name=None, alpn=None):
    sock = socket.create_connection((address, port), timeout=10)
    if name is None:
        return sock
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols([alpn])
    return context.wrap_socket(sock, server_hostname=name or None)

def names_of(sock):
    import cryptography.x509 as x509
    found = x509.load_der_x509_certificate(sock.getpeercert(True))
    return found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)

def ask(address, port, host, path="/", method="GET", headers=None, body=None, name=None):
    connection = http.client.HTTPConnection(address, port, timeout=10)
    connection.sock = connect(address, port, name)
    connection.request(method, path, body, {"Host": host, "Accept": "application/json", **(headers or {})})
    answer = connection.getresponse()
    text = answer.read().decode(errors="replace")
    try:
        said = json.loads(text)
    except ValueError:
        said = text
    connection.close()
    return {"status": answer.status, "headers": {k.lower(): v for k, v in answer.getheaders()}, "said": said}

def or_error(call, *args, **options):
    try:
        return call(*args, **options)
    except (OSError, http.client.HTTPException) as error:
        return {"error": type(error).__name__}

ARGUMENTS = json.loads(sys.argv[1])
"""


class Gate:
    """A Gateway ``gate`` in a namespace, and who asks it from outside."""

    def __init__(self, command, place, address):
        self.command, self.place, self.address = command, place, address

    def outside(self, code, **arguments):
        """What the lines print last, run outside of the cluster."""
        text = json.dumps({"address": self.address, **arguments})
        words = ["client", "--name", self.place.cluster, "--", WITH_PACKAGES, "-c", ASK + code, text]
        return json.loads(self.command.netloom(*words).stdout.splitlines()[-1])

    def curl(self, *words, check=True):
        """What curl prints, outside of the cluster."""
        return self.command.netloom(
            "client", "--name", self.place.cluster, "--", "curl", "-sS", *words, check=check
        )

    def ask(self, host, path="/", *, port=80, **options):
        """One request: status, headers, what the stand-in says."""
        code = "print(json.dumps(or_error(ask, ARGUMENTS['address'], ARGUMENTS['port'], **ARGUMENTS['options'])))"
        return self.outside(code, port=port, options={"host": host, "path": path, **options})

    def until(self, host, wanted, path="/", seconds=15, **options):
        """Ask until the answer is as wanted; the last answer, whatever it is."""
        code = (
            "import time, select\n"
            f"wanted = lambda a: {wanted}\n"
            "end = time.monotonic() + ARGUMENTS['seconds']\n"
            "while True:\n"
            "    a = or_error(ask, ARGUMENTS['address'], **ARGUMENTS['options'])\n"
            "    if wanted(a) or time.monotonic() > end:\n"
            "        break\n"
            "    select.select([], [], [], 0.02)\n"
            "print(json.dumps(a))\n"
        )
        return self.outside(
            code, seconds=seconds, options={"port": 80, "host": host, "path": path, **options}
        )


def certificate(directory: Path, *names, days=30):
    """A key and a certificate of its own for these names: paths of certificate and key."""
    cert, key = directory / f"{names[0]}.crt", directory / f"{names[0]}.key"
    words = [
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", str(days),
        "-subj", f"/CN={names[0]}", "-addext", "subjectAltName=" + ",".join(f"DNS:{n}" for n in names),
        "-keyout", key, "-out", cert,
    ]  # fmt: skip
    subprocess.run(words, check=True, capture_output=True)
    return cert, key


def route(name, host, *rules, kind="HTTPRoute", parent=None, **spec):
    """A route of Gateway ``gate``."""
    version = "v1alpha2" if kind in ("TCPRoute", "UDPRoute") else "v1"
    body = {"parentRefs": [{"name": "gate", **(parent or {})}], "rules": list(rules), **spec}
    if host:
        body["hostnames"] = [host]
    return {
        "apiVersion": f"gateway.networking.k8s.io/{version}",
        "kind": kind,
        "metadata": {"name": name},
        "spec": body,
    }


def to(*services, port=80, **rule):
    """A rule that leads to Services, by name or (name, weight)."""
    refs = [
        {"name": s, "port": port} if isinstance(s, str) else {"name": s[0], "weight": s[1], "port": port}
        for s in services
    ]
    return {"backendRefs": refs, **rule}


def listener(name, port, protocol, hostname=None, **more):
    """A listener that takes routes of all namespaces."""
    found = {
        "name": name,
        "port": port,
        "protocol": protocol,
        "allowedRoutes": {"namespaces": {"from": "All"}},
        **more,
    }
    return found | ({"hostname": hostname} if hostname else {})


def terminates(secret):
    """TLS that ends at the gateway."""
    return {"tls": {"mode": "Terminate", "certificateRefs": [{"name": secret}]}}


def condition(obj, type_, section=None):
    """Status, reason and message of a condition: of the object, of a listener, or of a route's first parent."""
    status = obj.get("status", {})
    if section is not None:
        status = next((one for one in status.get("listeners", []) if one["name"] == section), {})
    elif "parents" in status:
        status = status["parents"][0] if status["parents"] else {}
    found = next((c for c in status.get("conditions", []) if c["type"] == type_), None)
    return None if found is None else (found["status"], found["reason"], found["message"])
