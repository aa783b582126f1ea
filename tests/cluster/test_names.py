"""Names, as pods resolve them with the system's own resolver and with dig."""

import pytest

from netloom.testing.dns_upstream import ScriptedUpstream

pytestmark = pytest.mark.cluster


@pytest.fixture
def client(place):
    place.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "client"},
            "spec": {
                "containers": [{"name": "c", "image": "example/client"}],
                "terminationGracePeriodSeconds": 1,
            },
        }
    )
    place("wait", "pod/client", "--for=condition=Ready", "--timeout=30s")
    return "client"


def dig(place, *words):
    """Status and the answer section, as dig prints them."""
    said = place.run("client", "dig", "+nocookie", "+tries=1", "+time=4", *words).stdout
    status = next(line for line in said.splitlines() if "status:" in line)
    section = said.partition(";; ANSWER SECTION:\n")[2].partition("\n\n")[0]
    return status.split("status: ")[1].split(",")[0], [line.split()[3:] for line in section.splitlines()]


def test_a_new_service_is_resolvable_right_after_its_creation(place, client):
    for number in range(3):
        address = place.service(f"fresh-{number}")["clusterIP"]
        found = place.python(client, "tell(socket.gethostbyname(ARGUMENTS[0]))", f"fresh-{number}")
        assert found == address


def test_a_name_that_was_asked_before_it_existed_is_there_at_once(place, client):
    missing = "try:\n    tell(socket.gethostbyname('late'))\nexcept socket.gaierror as error:\n    tell(error.errno)"
    assert place.python(client, missing) < 0
    address = place.service("late")["clusterIP"]
    assert place.python(client, missing) == address
    place("delete", "service", "late")
    code = """
def ask():
    try:
        return socket.gethostbyname("late")
    except socket.gaierror as error:
        return error.errno

tell(until(lambda a: a == socket.EAI_NONAME, ask))
"""
    assert place.python(client, code) < 0


def test_services_have_addresses_ports_and_reverse_names(place, client):
    place.deploy("web", replicas=2)
    spec = place.service("web", {"name": "http", "port": 80, "targetPort": 8080})
    place.service("each", {"name": "http", "port": 8080}, selector={"app": "web"}, clusterIP="None")
    words = ("endpointslice", "-l", "kubernetes.io/service-name=each")
    place("wait", *words, "--for=jsonpath={.endpoints[1].conditions.ready}=true", "--timeout=20s")
    domain = f"{place.namespace}.svc.cluster.local"
    name = f"web.{domain}."
    assert dig(place, name) == ("NOERROR", [["A", spec["clusterIP"]]])
    assert dig(place, "+search", "web") == ("NOERROR", [["A", spec["clusterIP"]]])
    assert dig(place, f"_http._tcp.{name}", "SRV")[1] == [["SRV", "0", "100", "80", name]]
    assert dig(place, "-x", spec["clusterIP"])[1] == [["PTR", name]]
    assert dig(place, name, "AAAA") == ("NOERROR", [])
    pods = {p["status"]["podIP"] for p in place.pods("web").values()}
    assert {a[1] for a in dig(place, f"each.{domain}.")[1]} == pods
    servers = dig(place, f"_http._tcp.each.{domain}.", "SRV")[1]
    assert len(servers) == 2
    assert {dig(place, s[4])[1][0][1] for s in servers} == pods
    assert dig(place, "+tcp", name) == ("NOERROR", [["A", spec["clusterIP"]]])


def test_pods_have_names(place, client):
    address = place.get("pod", "client")["status"]["podIP"]
    name = f"{address.replace('.', '-')}.{place.namespace}.pod.cluster.local."
    assert dig(place, name) == ("NOERROR", [["A", address]])


def test_a_name_that_is_not_there_is_no_error_of_the_server(place, client):
    domain = f"{place.namespace}.svc.cluster.local."
    assert dig(place, f"ghost.{domain}") == ("NXDOMAIN", [])
    place.service("web", {"name": "http", "port": 80})
    assert dig(place, f"_nope._tcp.web.{domain}", "SRV") == ("NXDOMAIN", [])


def test_external_names(place, client):
    place.apply(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "outside"},
            "spec": {"type": "ExternalName", "externalName": "www.example.org"},
        }
    )
    status, answers = dig(place, f"outside.{place.namespace}.svc.cluster.local.")
    assert status == "NOERROR"
    assert [a[1] for a in answers if a[0] == "CNAME"] == ["www.example.org."]
    assert [a[1] for a in answers if a[0] == "A"] == ["192.0.2.80"]


def test_names_outside_the_cluster_go_to_the_upstream(place, client, upstream: ScriptedUpstream):
    assert dig(place, "www.example.org.") == ("NOERROR", [["A", "192.0.2.80"]])
    assert ("www.example.org.", "A") in upstream.asked
    assert dig(place, "ghost.example.org.") == ("NXDOMAIN", [])
    assert place.python(client, 'tell(socket.gethostbyname("www.example.org"))') == "192.0.2.80"
    place.run("client", "dig", "+short", f"web.{place.namespace}.svc.cluster.local.")
    assert not any(name.endswith("cluster.local.") for name, _ in upstream.asked), "cluster names stay inside"
