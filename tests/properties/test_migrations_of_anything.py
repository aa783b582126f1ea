"""Whatever Ingresses say: a migration ends with objects that an API server takes, or with losses; the proof ends, too; nothing raises."""

from hypothesis import given
from hypothesis import strategies as st

from netloom.local.apiserver import defaults, schema
from netloom.local.apiserver.validate import validate
from netloom.model.gateways.migrate.annotations import KNOWN, PREFIX
from netloom.model.gateways.migrate.convert import migrate
from netloom.observe.migration.proof import prove

VALUES = st.one_of(
    st.sampled_from(["true", "false", "1", "0", "-1", "10", "8m", "/", "/$1", "/$2", "always", "cookie", "basic", "GRPC", "HTTPS"]),
    st.sampled_from(["192.0.2.0/24", "2001:db8::/32, x", "https://a.example/b", "http://auth.id.svc/ask", "https://b.example$request_uri"]),
    st.sampled_from(["*", "a,b", "X-Canary", "^a$", "(", "error http_503", "off", "*.example", "~x", "a.example"]),
    st.text(max_size=12),
)  # fmt: skip
PATHS = st.sampled_from(
    ["/", "/a", "/a/", "/a(/|$)(.*)", "/a/?(.*)", "/(.*)", "/b/(.*)", "/a/[0-9]+$", "/[", "/A.b", "/a/b"]
)
HOSTS = st.sampled_from(["", "a.example", "b.example", "*.example", "www.a.example", "a.b.example"])
KINDS = st.sampled_from(["Exact", "Prefix", "ImplementationSpecific"])


@st.composite
def ingresses(draw):
    found = []
    for number in range(draw(st.integers(1, 3))):
        names = draw(st.lists(st.sampled_from(sorted(KNOWN)), max_size=5, unique=True))
        annotations = {PREFIX + name: draw(VALUES) for name in names}
        if draw(st.booleans()):
            annotations[PREFIX + "canary"] = "true"
        rules = [
            {
                "host": draw(HOSTS),
                "http": {
                    "paths": [
                        {"path": draw(PATHS), "pathType": draw(KINDS), "backend": {"service": {"name": f"s{draw(st.integers(0, 2))}", "port": {"number": 80}}}}
                        for _ in range(draw(st.integers(1, 2)))
                    ]
                },
            }
            for _ in range(draw(st.integers(0, 2)))
        ]  # fmt: skip
        spec = {"rules": rules}
        if draw(st.booleans()):
            spec["tls"] = [{"hosts": [h for h in [draw(HOSTS)] if h], "secretName": "cert"}]
        if not rules or draw(st.booleans()):
            spec["defaultBackend"] = {"service": {"name": "spare", "port": {"number": 80}}}
        meta = {
            "namespace": draw(st.sampled_from(["shop", "blog"])),
            "name": f"i{number}",
            "annotations": annotations,
        }
        found.append(
            {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": meta, "spec": spec}
        )
    return found


@given(ingresses())
def test_anything_ends_in_objects_that_are_taken_and_a_proof(documents):
    migration = migrate(documents)
    for document in migration.objects:
        gvk = schema.gvk_of(document)
        assert schema.unknown_fields(gvk, document) == []
        assert schema.type_errors(gvk, document) == []
        assert [e.text for e in validate(gvk, defaults.set_defaults(gvk, document), None)] == []
    prove(migration, documents, now=1_800_000_000.0, class_name="netloom", with_engine=False)


@given(ingresses(), st.randoms())
def test_the_order_of_documents_says_nothing(documents, random):
    shuffled = list(documents)
    random.shuffle(shuffled)
    one, other = migrate(documents), migrate(shuffled)
    assert one.objects == other.objects
    assert set(one.losses) == set(other.losses)
