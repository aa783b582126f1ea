"""The common part of a CoreDNS Corefile, read into our own settings. Pure.

Comes in: the text of a Corefile, and of the files that it names. Goes out: OutsideSettings with remarks on what was passed over, or UsageError with
the line at fault. What would change answers and cannot be had here is refused by its name; what only concerns CoreDNS itself is
passed over with a remark. Language: https://coredns.io/manual/configuration, plugins as of CoreDNS 1.13.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import msgspec

from netloom.dns.cache import CacheSettings
from netloom.dns.config import OutsideSettings, Policy, Rewrite, RewriteKind, Stub
from netloom.dns.corefile_words import Directive, parse, words_of, wrong

_PASSED_OVER = {
    "errors": "errors are always logged",
    "log": "queries are counted, not logged",
    "health": "the agent answers /healthz",
    "ready": "the agent answers /healthz",
    "prometheus": "metrics are on the agent's page",
    "loop": "a forwarding loop ends by its time limit",
    "reload": "the file is read at the start",
    "loadbalance": "records are always given in turn",
    "bufsize": "1232 bytes are always kept to",
    "cancel": "questions end by themselves",
    "debug": "",
    "metadata": "",
    "minimal": "",
    "any": "ANY is always answered briefly (RFC 8482)",
    "autopath": "search paths are always walked here",
    "kubernetes": "the names of the cluster come from the agent",
    "bind": "the server answers at the address of cluster DNS",
    "nsid": "",
}
_REFUSED = {
    "template": "templates",
    "file": "zone files",
    "auto": "zone files",
    "secondary": "zone transfers",
    "etcd": "names in etcd",
    "route53": "names of Route 53",
    "clouddns": "names of Cloud DNS",
    "azure": "names of Azure DNS",
    "grpc": "forwarding over gRPC",
    "dnssec": "signing",
    "sign": "signing",
    "view": "views",
    "acl": "access lists",
    "dns64": "synthesised IPv6 addresses",
    "k8s_external": "names for the world outside",
    "erratic": "wrong answers",
    "import": "imports",
    "transfer": "zone transfers",
    "tls": "serving over TLS",
    "whoami": "whoami",
    "chaos": "other answers about ourselves",
    "geoip": "places",
    "multicluster": "names of other clusters",
    "nomad": "names of Nomad",
    "header": "changed headers",
    "local": "local names",
    "pprof": "profiles",
    "trace": "traces",
    "dnstap": "dnstap",
    "root": "zone files",
    "timeouts": "other time limits",
}


class Reading(msgspec.Struct, frozen=True):
    """What a Corefile says."""

    settings: OutsideSettings
    domains: tuple[str, ...] = ()
    """Domains of the ``kubernetes`` plugin, the cluster's own first."""
    remarks: tuple[str, ...] = ()


def read_corefile(text: str, read_file: Callable[[str], str]) -> Reading:
    """Read a Corefile; ``read_file`` gives the text of a resolv.conf or hosts file that it names.

    Raises:
        UsageError: the line, and what of it cannot be had here.
    """
    reader = _Reader(read_file)
    for server in parse(text):
        reader.server(server)
    return reader.reading()


def resolv_conf_servers(text: str) -> list[str]:
    """The servers of a resolv.conf, as upstreams are written (resolv.conf(5))."""
    lines = (line.split() for line in text.splitlines())
    found = [words[1].partition("%")[0] for words in lines if len(words) > 1 and words[0] == "nameserver"]
    return [f"[{address}]" if ":" in address else address for address in found]


class _Reader:
    """Takes server blocks in, one after the other."""

    def __init__(self, read_file: Callable[[str], str]) -> None:
        self._read_file = read_file
        self._others: Stub | None = None
        self._stubs: dict[str, Stub] = {}
        self._except: list[str] = []
        self._hosts: dict[str, list[str]] = {}
        self._hosts_ttl_s = 3600
        self._hosts_reverse = True
        self._rewrites: list[Rewrite] = []
        self._cache: CacheSettings | None = None
        self._domains: list[str] = []
        self._remarks: list[str] = []

    def reading(self) -> Reading:
        """All of it."""
        others = self._others or Stub()
        settings = OutsideSettings(
            upstreams=others.servers,
            policy=others.policy,
            stubs=self._stubs,
            except_domains=tuple(self._except),
            hosts={name: tuple(dict.fromkeys(at)) for name, at in self._hosts.items()},
            hosts_ttl_s=self._hosts_ttl_s,
            hosts_reverse=self._hosts_reverse,
            rewrites=tuple(self._rewrites),
            cache=self._cache or CacheSettings(),
        )
        return Reading(settings, tuple(self._domains), tuple(self._remarks))

    def server(self, server: Directive) -> None:
        """One server block: the zones that it is for, and its plugins."""
        if server.name.startswith("("):
            raise wrong(
                server.line,
                f"{server.name}: snippets are not read",
                "write its lines where they are imported",
            )
        zones = [self._zone(word.rstrip(","), server.line) for word in server.words]
        for plugin in server.block:
            self._plugin(plugin, zones)

    def _zone(self, word: str, line: int) -> str:
        scheme, separator, rest = word.partition("://")
        if separator and scheme != "dns":
            raise wrong(line, f"{word}: clients are answered over plain DNS only", "write the zone alone")
        zone, _, port = (rest if separator else word).partition(":")
        if port and not port.isdecimal():
            raise wrong(line, f"{word}: {port!r} is no port")
        if port not in ("", "53"):
            self._remarks.append(f"line {line}: port {port} is passed over: the server answers at port 53")
        return zone.rstrip(".").lower()

    def _plugin(self, plugin: Directive, zones: list[str]) -> None:
        name = plugin.name
        if (what := _REFUSED.get(name)) is not None:
            raise wrong(plugin.line, f"{name}: {what} cannot be had here", "remove the plugin")
        if name == "kubernetes":
            domains = [a.rstrip(".").lower() for a in plugin.arguments] or zones
            self._domains += [d for d in domains if not d.endswith(".arpa")]
        read = {
            "forward": self._forward,
            "hosts": self._fixed,
            "rewrite": self._rewrite,
            "cache": self._keep,
        }.get(name)
        if read is not None:
            read(plugin, zones)
        elif name in _PASSED_OVER:
            why = _PASSED_OVER[name]
            self._remarks.append(f"line {plugin.line}: {name} is passed over" + (f": {why}" if why else ""))
        else:
            raise wrong(plugin.line, f"{name}: no plugin that is known here", "remove it")

    # forward FROM TO... { except, policy, tls_servername, ... }
    def _forward(self, plugin: Directive, zones: list[str]) -> None:
        if len(plugin.arguments) < 2:
            raise wrong(plugin.line, "forward: says not from where to where", "forward . /etc/resolv.conf")
        start, *to = plugin.arguments
        options = {option.name: option for option in plugin.block}
        for option in plugin.block:
            if option.name not in _FORWARD_OPTIONS:
                raise wrong(option.line, f"forward: {option.name}: no option that is known here", "remove it")
            if (why := _FORWARD_OPTIONS[option.name]) is not None:
                self._remarks.append(f"line {option.line}: forward {option.name} is passed over: {why}")
        tls = (
            options["tls_servername"].arguments[0]
            if "tls_servername" in options and options["tls_servername"].arguments
            else ""
        )
        policy = (
            options["policy"].arguments[0]
            if "policy" in options and options["policy"].arguments
            else "random"
        )
        if policy not in {one.value for one in Policy}:
            raise wrong(
                plugin.line, f"forward: policy {policy} is not known", "random, round_robin or sequential"
            )
        servers = tuple(server for text in to for server in self._servers(text, tls, plugin.line))
        stub = Stub(servers=servers, policy=Policy(policy))
        for domain in zones if start == "." else [start.rstrip(".").lower()]:
            if domain:
                self._stubs[domain] = stub
            else:
                self._others = stub
        if "except" in options:
            self._except += [word.rstrip(".").lower() for word in options["except"].arguments]

    def _servers(self, text: str, tls_name: str, line: int) -> list[str]:
        if text.startswith("/"):
            return resolv_conf_servers(self._read_file(text))
        scheme, separator, rest = text.partition("://")
        if separator and scheme not in ("dns", "tls"):
            raise wrong(line, f"forward: {text}: {scheme} cannot be had here", "dns:// or tls://")
        if scheme == "tls" and separator:
            address, _, zone = rest.partition("%")
            name = zone or tls_name
            return [f"tls://{address}" + (f"#{name}" if name else "")]
        return [rest if separator else text]

    # hosts [FILE [ZONES...]] { ADDRESS NAME..., ttl, no_reverse, reload, fallthrough }
    def _fixed(self, plugin: Directive, zones: list[str]) -> None:
        del zones
        if plugin.arguments:
            for number, line in enumerate(self._read_file(plugin.arguments[0]).splitlines(), 1):
                words = words_of(line, number)
                if len(words) > 1:
                    self._host(words[0], words[1:])
        for option in plugin.block:
            if option.name == "ttl" and option.arguments and option.arguments[0].isdecimal():
                self._hosts_ttl_s = int(option.arguments[0])
            elif option.name == "no_reverse":
                self._hosts_reverse = False
            elif option.name in ("reload", "fallthrough"):
                continue  # names that are not there always go on to the next
            elif option.arguments:
                self._host(option.name, option.arguments)
            else:
                raise wrong(option.line, f"hosts: {option.name}: no option that is known here", "remove it")

    def _host(self, address: str, names: tuple[str, ...] | list[str]) -> None:
        for name in names:
            self._hosts.setdefault(name.rstrip(".").lower(), []).append(address)

    # rewrite [stop|continue] name [KIND] FROM TO [answer ...]
    def _rewrite(self, plugin: Directive, zones: list[str]) -> None:
        del zones
        words = list(plugin.arguments)
        if plugin.block or not words:
            raise wrong(
                plugin.line, "rewrite: a block of rules is not read", "write each rule on a line of its own"
            )
        if words[0] == "continue":
            raise wrong(
                plugin.line, "rewrite continue: only the first rule that fits is applied here", "write stop"
            )
        if words[0] == "stop":
            words.pop(0)
        if not words or words[0] not in ("name", *(kind.value for kind in RewriteKind)):
            field = words[0] if words else "nothing"
            raise wrong(
                plugin.line, f"rewrite {field}: only names are rewritten here", "rewrite name FROM TO"
            )
        if words[0] == "name":
            words.pop(0)
        kind = RewriteKind.EXACT
        if words and words[0] in {one.value for one in RewriteKind}:
            kind = RewriteKind(words.pop(0))
        if len(words) < 2 or (len(words) > 2 and words[2] != "answer"):
            raise wrong(plugin.line, "rewrite name: says not what becomes of what", "rewrite name FROM TO")
        # "answer" rules give the name that was asked back; that is always done here
        self._rewrites.append(Rewrite(name=words[0], target=words[1].rstrip("."), kind=kind))

    # cache [TTL] [ZONES...] { success CAPACITY [TTL], denial CAPACITY [TTL], prefetch, serve_stale, disable ... }
    def _keep(self, plugin: Directive, zones: list[str]) -> None:
        del zones
        values: dict[str, int | bool] = {
            "positive_s": 3600,
            "negative_s": 1800,
            "stale_s": 0,
            "prefetch": False,
        }
        if plugin.arguments and plugin.arguments[0].isdecimal():
            values["positive_s"] = values["negative_s"] = int(plugin.arguments[0])
        for option in plugin.block:
            numbers = [int(word) for word in option.arguments if word.isdecimal()]
            if option.name == "success" and numbers:
                values["entries"] = numbers[0]
                values["positive_s"] = numbers[1] if len(numbers) > 1 else values["positive_s"]
            elif option.name == "denial" and numbers:
                values["negative_s"] = numbers[1] if len(numbers) > 1 else values["negative_s"]
            elif option.name == "prefetch":
                values["prefetch"] = bool(numbers and numbers[0])
            elif option.name == "serve_stale":
                values["stale_s"] = _seconds(option.arguments[0], option.line) if option.arguments else 3600
            elif option.name in ("disable", "servfail", "keepttl"):
                self._remarks.append(f"line {option.line}: cache {option.name} is passed over")
            else:
                raise wrong(option.line, f"cache: {option.name}: no option that is known here", "remove it")
        self._cache = msgspec.convert(values, CacheSettings)


_FORWARD_OPTIONS: Mapping[str, str | None] = {
    "except": None,
    "policy": None,
    "tls_servername": None,
    "force_tcp": "TCP follows where an answer was cut",
    "prefer_udp": "UDP always goes first",
    "max_fails": "a server that does not answer is asked last, and probed",
    "max_concurrent": "1000 questions may be open",
    "expire": "connections close after 20 s of rest",
    "health_check": "a server that does not answer is probed",
    "failover": "the next server is asked where one cannot help",
    "next": "the next server is asked where one cannot help",
    "failfast_all_unhealthy_upstreams": "all are tried",
}


def _seconds(text: str, line: int) -> int:
    match = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?", text)
    if match is None or not text:
        raise wrong(line, f"{text}: no time", "write 30s, 10m or 1h")
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds
