"""CEL: what expressions are worth, what they may not do, and the rules of the definitions that we ship."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netloom.local.apiserver.custom import celcheck, celrules
from netloom.local.apiserver.custom.cel import times
from netloom.local.apiserver.custom.cel.evaluate import Evaluator
from netloom.local.apiserver.custom.cel.functions import FUNCTIONS, METHODS
from netloom.local.apiserver.custom.cel.operators import OPERATORS
from netloom.local.apiserver.custom.cel.parser import parse
from netloom.local.apiserver.custom.cel.syntax import CelError
from netloom.local.apiserver.custom.cel.types import NONE, Optional, UInt

SELF = {
    "name": "web",
    "namespace": "shop",
    "replicas": 3,
    "x-y": 1,
    "list": [3, 1, 2],
    "map": {"a": 1, "b": 2},
    "items": [{"name": "a", "port": 1}, {"name": "b"}],
}


WORTH = [
    None, True, 0, -1, 1 << 62, 1.5, float("inf"), float("nan"), "", "a", "(", "192.0.2.1", "1h", "1.2.3", b"\xff", [], [1, 2], ["a"], [[1]], {}, {"a": 1},
    UInt(3), NONE, Optional(has=True, value=1), times.duration("1h"), times.timestamp("2026-01-02T15:04:05Z"), FUNCTIONS["ip"]("::1"),
    FUNCTIONS["cidr"]("192.0.2.0/24"), FUNCTIONS["quantity"]("1"), FUNCTIONS["semver"]("1.2.3"), FUNCTIONS["url"]("http://a/b?c"),
    FUNCTIONS["format.dns1123Label"](),
]  # fmt: skip


def worth(text, **names):
    return Evaluator().value(parse(text), {"self": SELF, **names})


@pytest.mark.parametrize(
    "text",
    [
        "1 + 2 * 3 == 7 && (1 + 2) * 3 == 9",
        "-7 / 2 == -3 && -7 % 2 == -1 && 7 % -2 == 1",
        "1 == 1.0 && 1u == 1 && 2 > 1.5 && !(1 == '1')",
        "1.0 / 0.0 > 1.0e300",
        "0x1F == 31 && 1e3 == 1000.0",
        "'a' + 'b' == \"ab\" && r'\\d' == '\\\\d' && '''x'y''' == \"x'y\"",
        "b'ab' == bytes('ab') && size(b'\\xff') == 1 && '\\u00e9' == 'é'",
        "true ? true : 1 / 0 == 1",
        "(1 / 0 == 1) || true",
        "!((1 / 0 == 1) && false)",
        "2 in [1, 2] && 'a' in self.map && !('c' in self.map)",
        "[1, 2] + [3] == [1, 2, 3] && {'a': 1}.a == 1 && {'a': 1}['a'] == 1",
        "has(self.name) && !has(self.none) && !has(self.map.c)",
        "self.__namespace__ == 'shop' && self.x__dash__y == 1",
        "self.list.all(x, x > 0) && self.list.exists(x, x == 2) && self.list.exists_one(x, x == 2)",
        "self.list.all(i, x, i < 3 && x > 0) && self.map.exists(k, v, k == 'b' && v == 2)",
        "self.list.map(x, x * 2) == [6, 2, 4] && self.list.filter(x, x > 1) == [3, 2]",
        "self.list.map(x, x > 1, x * 2) == [6, 4] && self.map.map(k, k) == ['a', 'b']",
        "self.list.transformList(i, x, i + x) == [3, 2, 4] && self.map.transformMap(k, v, v > 1, v * 2) == {'b': 4}",
        "self.items.all(i, self.items.exists_one(j, i.name == j.name))",
        "self.items.map(i, has(i.port) ? i.port : 0).sum() == 1",
        "size(self.list) == 3 && self.list.size() == 3 && size('é') == 1",
        "self.list.sum() == 6 && self.list.max() == 3 && self.list.min() == 1 && !self.list.isSorted()",
        "self.list.indexOf(1) == 1 && self.list.lastIndexOf(9) == -1 && self.list.sort() == [1, 2, 3]",
        "'hello'.contains('ell') && 'hello'.startsWith('he') && 'hello'.endsWith('lo')",
        "'hello'.matches('^h.*o$') && !'hello\\n'.matches('^h.*o$') && 'Ab'.matches('^(?i)ab$')",
        "'a,b'.split(',') == ['a', 'b'] && ['a', 'b'].join('-') == 'a-b' && ' x '.trim() == 'x'",
        "'abc'.substring(1) == 'bc' && 'abc'.substring(0, 1) == 'a' && 'abc'.charAt(1) == 'b'",
        "'aXa'.replace('a', 'b') == 'bXb' && 'aXa'.lowerAscii() == 'axa' && 'abc'.indexOf('c') == 2",
        "'%s has %d of %.1f'.format(['x', 2, 1.25]) in ['x has 2 of 1.2', 'x has 2 of 1.3']",
        "'a1b22'.findAll('[0-9]+') == ['1', '22'] && 'a1'.find('[0-9]') == '1'",
        "isIP('192.0.2.1') && !isIP('192.0.2') && ip('2001:db8::1').family() == 6",
        "ip('192.0.2.1').isGlobalUnicast() && ip('127.0.0.1').isLoopback() && ip.isCanonical('::1')",
        "cidr('192.0.2.0/24').containsIP('192.0.2.7') && cidr('192.0.2.0/24').containsCIDR('192.0.2.0/25')",
        "cidr('192.0.2.7/24') != cidr('192.0.2.7/24').masked() && cidr('192.0.2.0/24').prefixLength() == 24",
        "isURL('https://example.org:8080/a?b=c') && url('https://example.org:8080/a?b=c').getPort() == '8080'",
        "url('https://example.org/a?b=c').getHostname() == 'example.org' && url('/x').getEscapedPath() == '/x'",
        "quantity('1Gi').isGreaterThan(quantity('1G')) && quantity('500m').add(quantity('0.5')).asInteger() == 1",
        "isQuantity('1.5') && !isQuantity('x') && quantity('2').compareTo(quantity('2000m')) == 0",
        "semver('1.2.3').isLessThan(semver('1.10.0')) && semver('1.0.0-rc.1').isLessThan(semver('1.0.0'))",
        "duration('1h30m') == duration('90m') && duration('1h').getMinutes() == 60 && string(duration('90s')) == '90s'",
        "timestamp('2026-01-02T15:04:05Z') + duration('1h') == timestamp('2026-01-02T16:04:05Z')",
        "timestamp('2026-01-02T15:04:05Z').getFullYear() == 2026 && timestamp('2026-01-02T15:04:05Z').getMonth() == 0",
        "int('12') == 12 && int(1.9) == 1 && double(1) == 1.0 && string(1) == '1' && uint(3) == 3u && bool('true')",
        "type(1) == int && type('a') == string && type([]) == list && type(null) == null_type",
        "self.?name.orValue('x') == 'web' && self.?none.orValue('x') == 'x' && !self.?none.hasValue()",
        "self.?none.?deeper.orValue(1) == 1 && self.list[?7].orValue(9) == 9 && optional.of(1).value() == 1",
        "self.?name.optMap(n, n + '!').orValue('') == 'web!' && [?self.?none, 1] == [1]",
        "sets.contains([1, 2], [2]) && sets.equivalent([1, 2], [2, 1]) && !sets.intersects([1], [2])",
        "math.greatest(1, 3, 2) == 3 && math.least([4, 2]) == 2 && math.abs(-3) == 3",
        "!format.dns1123Label().validate('web').hasValue() && format.dns1123Label().validate('Web').hasValue()",
        "base64.encode(b'hi') == 'aGk=' && base64.decode('aGk=') == b'hi'",
        "self.list.exists(x, 1 / (x - 3) > 0 || x == 3)",
        "// a comment\n true",
    ],
)
def test_holds(text):
    assert worth(text) is True


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("self.none", "no such key: none"),
        ("1 / 0", "division by zero"),
        ("9223372036854775807 + 1", "integer overflow"),
        ("1 + 'a'", "no such overload: _+_(int, string)"),
        ("1 + 1.0", "no such overload: _+_(int, double)"),
        ("'a' < 1", "no such overload"),
        ("[1][1]", "index out of bounds: 1"),
        ("self.name.none()", "undeclared reference to 'none'"),
        ("optional.none().value()", "optional.none() dereference"),
        ("'a'.matches('(')", "error parsing regexp"),
        ("duration('1x')", "invalid duration"),
        ("ip('x')", "parse error"),
        ("'a'.startsWith(1)", "no such overload: startsWith(string, int)"),
        ("quantity('1.5').asInteger()", "cannot convert value to integer"),
        ("1 ? true : false", "no such overload"),
        ("self.list.all(x, self.list.all(y, self.list.all(z, z > x)))", ""),
    ],
)
def test_has_no_value(text, words):
    if not words:
        assert worth(text) is False
        return
    with pytest.raises(CelError) as told:
        worth(text)
    assert words in str(told.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("self.", "ERROR: <input>:1:6: Syntax error"),
        ("(1", "expecting ')'"),
        ("1 2", "expecting <EOF>"),
        ("self.a = 1", "token recognition error at: '='"),
        ("for", "Syntax error"),
        ("'a", "token recognition error"),
        ("(" * 70 + "1" + ")" * 70, "levels deep"),
        ("1" * 70_000, "at most"),
        ("99999999999999999999", "out of range"),
    ],
)
def test_is_no_expression(text, words):
    with pytest.raises(CelError) as told:
        parse(text)
    assert words in str(told.value)


def test_a_rule_cannot_take_the_servers_time():
    numbers = "[" + ",".join("1" * 100) + "]"
    text = f"{numbers}.all(a, {numbers}.all(b, {numbers}.all(c, {numbers}.all(d, a + b + c + d > 0))))"
    with pytest.raises(CelError, match="cost limit exceeded"):
        Evaluator(20_000).value(parse(text), {})


@given(st.text(max_size=40))
def test_any_text_is_an_expression_or_an_error_of_its_own(text):
    with contextlib.suppress(CelError):
        Evaluator(1000).value(parse(text), {"self": SELF})


PIECES = [
    "self .name .list .items .map [0] ['a'] {'a': 1} {self: 1} [1, 2] ( ) + - * / % < == in && || ! ? : , .?x [?1] 'a' 1 1.5 1u null",
    "    has(self.name) .all(x, x) .map(x, x) .exists(i, x, i) size( int( string( duration('1h') timestamp('2026-01-02T15:04:05Z') ip('::1')",
    "    cidr('192.0.2.0/24') quantity('1') .add( .matches( .split( .format( .substring( .orValue( .sum() .max() .family() optional.of( math.greatest(",
    "    .containsIP( .getHours() sets.contains( .isGreaterThan( type( b'x' -9223372036854775808",
]
WORDS = [word for line in PIECES for word in line.split(" ") if word]


@given(st.lists(st.sampled_from(WORDS), max_size=12))
def test_any_words_are_an_expression_or_an_error_of_its_own(words):
    with contextlib.suppress(CelError):
        Evaluator(5000).value(parse(" ".join(words)), {"self": SELF})


@given(st.sampled_from(sorted(FUNCTIONS)), st.lists(st.sampled_from(WORTH), max_size=3))
def test_any_function_of_anything_has_a_value_or_an_error_of_its_own(name, values):
    arguments = ", ".join(f"v{number}" for number in range(len(values)))
    names = {f"v{number}": value for number, value in enumerate(values)}
    with contextlib.suppress(CelError):
        Evaluator(5000).value(parse(f"{name}({arguments})"), names)


@given(st.sampled_from(sorted(METHODS)), st.lists(st.sampled_from(WORTH), min_size=1, max_size=4))
def test_any_method_of_anything_has_a_value_or_an_error_of_its_own(name, values):
    arguments = ", ".join(f"v{number}" for number in range(1, len(values)))
    names = {f"v{number}": value for number, value in enumerate(values)}
    with contextlib.suppress(CelError):
        Evaluator(5000).value(parse(f"v0.{name}({arguments})"), names)


@given(st.sampled_from(sorted(set(OPERATORS) - {"neg", "!"})), st.sampled_from(WORTH), st.sampled_from(WORTH))
def test_any_operator_of_anything_has_a_value_or_an_error_of_its_own(sign, left, right):
    with contextlib.suppress(CelError):
        Evaluator(5000).value(parse(f"a {sign} b"), {"a": left, "b": right})


@given(st.integers(min_value=-(1 << 62), max_value=1 << 62), st.integers(min_value=1, max_value=1 << 30))
def test_division_is_towards_zero_and_the_rest_has_the_first_ones_sign(a, b):
    assert worth(f"(a / b) * b + a % b == a && {'a % b >= 0' if a >= 0 else 'a % b <= 0'}", a=a, b=b)


@given(st.integers(min_value=-(10**15), max_value=10**15))
def test_durations_are_read_as_they_are_written(ns):
    there = times.duration(f"{ns}ns")
    assert times.duration(times.duration_text(there)) == there


def test_values_of_their_own_types():
    assert worth("self.?none") is NONE
    assert worth("optional.of(1)") == Optional(has=True, value=1)
    assert type(worth("1u + 2u")) is UInt


def schema(rule, type_="object", **more):
    return {
        "type": type_,
        "x-kubernetes-validations": [rule],
        "properties": {"a": {"type": "integer"}, "at": {"type": "string", "format": "date-time"}},
        **more,
    }


def told(rule, value, old=None):
    return [(e.field, e.type, e.message) for e in celrules.errors(schema(rule), value, old)]


def test_what_a_rule_says_is_told_where_and_why_it_wants():
    rule = {"rule": "self.a > 1", "messageExpression": "'a is ' + string(self.a)", "fieldPath": ".a"}
    assert told(rule, {"a": 1}) == [("a", "FieldValueInvalid", "a is 1")]
    assert told({"rule": "self.a > 1"}, {"a": 1}) == [("", "FieldValueInvalid", "failed rule: self.a > 1")]
    rule = {"rule": "self.a > 1", "message": "more", "reason": "FieldValueForbidden"}
    assert told(rule, {"a": 1}) == [("", "FieldValueForbidden", "more")]
    assert told(rule, {"a": 2}) == []
    broken = {"rule": "self.b > 1", "message": "never"}
    assert told(broken, {"a": 1}) == [("", "FieldValueInvalid", "no such key: b evaluating rule: never")]


def test_rules_about_changes_wait_for_one():
    rule = {"rule": "self.a >= oldSelf.a", "message": "a only grows"}
    assert told(rule, {"a": 1}) == []
    assert told(rule, {"a": 1}, {"a": 2}) == [("", "FieldValueInvalid", "a only grows")]
    both = {"rule": "oldSelf.hasValue() || self.a == 0", "optionalOldSelf": True, "message": "begins at 0"}
    assert told(both, {"a": 1}) == [("", "FieldValueInvalid", "begins at 0")]
    assert told(both, {"a": 1}, {"a": 0}) == []


def test_what_an_update_does_not_change_is_not_held_against_it():
    rule = {"rule": "self.a > 1", "message": "more"}
    assert told(rule, {"a": 1}, {"a": 1}) == []


def test_texts_of_a_format_are_what_the_format_says():
    assert told({"rule": "self.at.getFullYear() == 2026"}, {"at": "2026-01-01T00:00:00Z"}) == []


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"rule": ""}, "rule is not specified"),
        ({"rule": "self.a >"}, "compilation failed: ERROR: <input>:1:9"),
        ({"rule": "selv.a > 1"}, "undeclared reference to 'selv'"),
        ({"rule": "self.list.any(x, x)"}, "undeclared reference to 'any'"),
        ({"rule": "self.all(x, y)"}, "undeclared reference to 'y'"),
        ({"rule": "true", "reason": "Why"}, "supported values"),
        ({"rule": "true", "messageExpression": "1 +"}, "messageExpression compilation failed"),
        ({"rule": "true", "optionalOldSelf": True}, "may only be set if the rule uses oldSelf"),
        ({"rule": "true", "message": " "}, "message must be non-empty"),
    ],
)
def test_rules_that_are_none_say_why(rule, words):
    (error,) = celcheck.problems({"x-kubernetes-validations": [rule]}, "x")
    assert words in error.text


def test_rules_that_are_rules_have_no_problems():
    rules = [{"rule": "self.list.all(i, x, x > i) && has(self.a) && math.abs(self.a) > 1"}]
    assert list(celcheck.problems({"x-kubernetes-validations": rules}, "x")) == []


FIELDS = {
    "type": "object",
    "properties": {
        "a": {"type": "array", "items": {"type": "object", "properties": {"b": {"type": "string"}}}},
        "map": {"type": "object", "additionalProperties": {"type": "string"}},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    },
}


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("self.c == 1", "undefined field 'c'"),
        ("has(self.c)", "undefined field 'c'"),
        ("self.a.all(x, x.c == 1)", "undefined field 'c'"),
        ("self.a[0].c == 1", "undefined field 'c'"),
        ("self.a.filter(x, true)[0].c == 1", "undefined field 'c'"),
        ("self.a == oldSelf.d", "undefined field 'd'"),
        ("self.metadata.labels.x == 'a'", "undefined field 'labels'"),
        ("self.a.all(x, x.b == '') && self.map.any == '' && self.free.any == 1 && self.?c == self.?d", ""),
        ("self.metadata.name == self.kind && self.a.exists(i, x, x.b == '')", ""),
    ],
)
def test_fields_that_the_schema_does_not_have_are_refused(rule, words):
    told = [
        e.text
        for e in celcheck.problems(
            {**FIELDS, "x-kubernetes-validations": [{"rule": rule}]}, "x", at_root=True
        )
    ]
    assert bool(told) is bool(words), told
    assert all(words in one for one in told), told
