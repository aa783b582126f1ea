"""A request as a sample, and what becomes of it: the values in which old and new are compared.

Comes in: nothing. Goes out: ``Sample``, ``Outcome``. Not here: who decides (``retired.py``, ``successor.py``), which samples there are (``samples.py``).
"""

from __future__ import annotations

import enum

import msgspec

from netloom.units import Addr


class Boundary(enum.Enum):
    """Why a sample was chosen: the boundary of a rule that it tries."""

    PLAIN = "as written"
    SLASH = "final slash"
    BELOW = "a path below"
    LONGER = "a longer last word"
    SHORTER = "a shorter path"
    CASE = "capitals"
    QUERY = "a query"
    METHOD = "another method"
    PREFLIGHT = "a browser's question"
    OTHER_HOST = "another host"
    DEEPER_HOST = "a label more"
    HEADER = "a header of the canary"
    COOKIE = "a cookie of the canary"
    CLIENT = "another client"
    NOWHERE = "no such path"


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """A request to both."""

    scheme: str = "http"
    host: str
    path: str = "/"
    query: str = ""
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    client: Addr | None = None
    boundary: Boundary = Boundary.PLAIN
    about: tuple[str, str] = ("", "")
    """Host and path of the rule that it is made from."""
    ingress: str = ""
    """namespace/name of the Ingress that it is made from."""

    @property
    def words(self) -> str:
        """In one line: ``GET https://shop.example/cart?x=1 (X-Canary: always)``."""
        query = f"?{self.query}" if self.query else ""
        more = "; ".join(f"{name}: {value}" for name, value in self.headers)
        if self.client is not None:
            more = f"{more}; from {self.client}".removeprefix("; ")
        said = f"{self.method} {self.scheme}://{self.host}{self.path}{query}"
        return f"{said} ({more})" if more else said

    def header(self, name: str) -> str:
        """The value of a header, empty where there is none."""
        return next((value for given, value in self.headers if given.lower() == name.lower()), "")


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of a request."""

    status: int = 0
    """Of an answer that no backend gives; 0: a backend answers."""
    backends: tuple[tuple[str, int], ...] = ()
    """Who may get it, ``namespace/service:port``, and its share in thousandths."""
    path: str = ""
    """As the backend sees it."""
    host: str = ""
    """As the backend sees it."""
    location: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    """Set for the backend."""
    terms: tuple[str, ...] = ()
    """What else holds for the request: who may send it, how often, how it is tried; sorted."""

    @property
    def words(self) -> str:
        """In one line."""
        if self.status:
            to = f" to {self.location}" if self.location else ""
            return f"{self.status}{to}" + _terms(self.terms)
        shares = ", ".join(n if s == 1000 else f"{n} {s / 10:g} %" for n, s in self.backends)
        more = "".join(f", {name}: {value}" for name, value in self.headers)
        return f"{shares} gets {self.path} for {self.host}{more}" + _terms(self.terms)


def _terms(terms: tuple[str, ...]) -> str:
    return f" [{', '.join(terms)}]" if terms else ""


def shares_of(weights: dict[str, int]) -> tuple[tuple[str, int], ...]:
    """Weights as thousandths, sorted; those without a weight are left out."""
    total = sum(weights.values())
    return tuple(sorted((name, round(1000 * weight / total)) for name, weight in weights.items() if weight))
