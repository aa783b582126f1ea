"""Words of an expression as a tree. Pure.

Comes in: a text. Goes out: an expression, or a CelError with line and column. Source: the CEL specification, "Syntax"; optional syntax of cel-go.
"""

from __future__ import annotations

import functools

from netloom.local.apiserver.custom.cel.lexer import Token, place, tokens
from netloom.local.apiserver.custom.cel.syntax import (
    Call,
    CelError,
    Expr,
    Index,
    ListOf,
    Literal,
    MapOf,
    Name,
    Select,
)

_DEEPEST = 64
_WORDS = {"true": True, "false": False, "null": None}
_RESERVED = frozenset(
    [
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    ]
)
_LEVELS = (("||",), ("&&",), ("<", "<=", ">", ">=", "==", "!=", "in"), ("+", "-"), ("*", "/", "%"))


@functools.lru_cache(maxsize=4096)
def parse(text: str) -> Expr:
    """The expression that a text is.

    Raises:
        CelError: it is none.
    """
    parser = _Parser(text)
    found = parser.expression()
    parser.expect_end()
    return found


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = tokens(text)
        self._index = 0
        self._depth = 0

    @property
    def _next(self) -> Token:
        return self._tokens[self._index]

    def _take(self, *texts: str) -> Token | None:
        token = self._next
        if token.kind != "value" and token.text in texts:
            self._index += 1
            return token
        return None

    def _expect(self, text: str) -> Token:
        token = self._take(text)
        if token is None:
            raise self._error(f"expecting '{text}'")
        return token

    def _error(self, why: str) -> CelError:
        token = self._next
        where = place(self._text, token.at)
        return CelError(f"{where}: Syntax error: mismatched input '{token.text}' {why}")

    def expect_end(self) -> None:
        if self._next.kind != "end":
            raise self._error("expecting <EOF>")

    def expression(self) -> Expr:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise CelError(f"expression is nested more than {_DEEPEST} levels deep")
        condition = self._binary(0)
        if token := self._take("?"):
            yes = self._binary(0)
            self._expect(":")
            condition = Call(None, "?:", (condition, yes, self.expression()), token.at)
        self._depth -= 1
        return condition

    def _binary(self, level: int) -> Expr:
        if level == len(_LEVELS):
            return self._unary()
        left = self._binary(level + 1)
        while token := self._take(*_LEVELS[level]):
            left = Call(None, token.text, (left, self._binary(level + 1)), token.at)
        return left

    def _unary(self) -> Expr:
        signs = []
        while token := self._take("!", "-"):
            signs.append(token)
        found = self._member()
        for token in reversed(signs):
            if token.text == "-" and isinstance(found, Literal) and type(found.value) in {int, float}:
                found = Literal(-found.value)
            else:
                found = Call(None, "!" if token.text == "!" else "neg", (found,), token.at)
        return found

    def _member(self) -> Expr:
        found = self._primary()
        while True:
            if self._take("."):
                optional = self._take("?") is not None
                name = self._name()
                if not optional and (token := self._take("(")):
                    found = Call(found, name, self._arguments(")"), token.at)
                else:
                    found = Select(found, name, optional)
            elif self._take("["):
                optional = self._take("?") is not None
                index = self.expression()
                self._expect("]")
                found = Index(found, index, optional)
            else:
                return found

    def _name(self) -> str:
        token = self._next
        if token.kind != "name":
            raise self._error("expecting a name")
        self._index += 1
        return token.text.strip("`")

    def _arguments(self, end: str) -> tuple[Expr, ...]:
        found: list[Expr] = []
        while not self._take(end):
            found.append(self.expression())
            if not self._take(","):
                self._expect(end)
                break
        return tuple(found)

    def _primary(self) -> Expr:
        token = self._next
        if token.kind == "value":
            self._index += 1
            return Literal(token.value)
        if self._take("("):
            found = self.expression()
            self._expect(")")
            return found
        if self._take("["):
            return self._list()
        if self._take("{"):
            return self._map()
        self._take(".")
        return self._named()

    def _named(self) -> Expr:
        token = self._next
        if token.kind != "name" or token.text in _RESERVED or token.text == "in":
            raise self._error("expecting an expression")
        self._index += 1
        if token.text in _WORDS:
            return Literal(_WORDS[token.text])
        if self._take("("):
            return Call(None, token.text, self._arguments(")"), token.at)
        return Name(token.text, token.at)

    def _list(self) -> Expr:
        found: list[tuple[Expr, bool]] = []
        while not self._take("]"):
            optional = self._take("?") is not None
            found.append((self.expression(), optional))
            if not self._take(","):
                self._expect("]")
                break
        return ListOf(tuple(found))

    def _map(self) -> Expr:
        found: list[tuple[Expr, Expr, bool]] = []
        while not self._take("}"):
            optional = self._take("?") is not None
            key = self.expression()
            self._expect(":")
            found.append((key, self.expression(), optional))
            if not self._take(","):
                self._expect("}")
                break
        return MapOf(tuple(found))
