//! The language: <https://github.com/google/cel-spec/blob/master/doc/langdef.md>.

use crate::table::check;

#[test]
fn literals() {
    check(&[
        ("1", "1"),
        ("-1", "-1"),
        ("0x1F", "31"),
        ("1u", "1u"),
        ("1.5", "1.5"),
        ("1e3", "1000.0"),
        ("'a'", "'a'"),
        ("\"a\"", "'a'"),
        ("'''a'b'''", "'a'b'"),
        ("r'\\d'", "'\\d'"),
        ("'\\n' == '\\x0a'", "true"),
        ("'\\u00e9'", "'é'"),
        ("b'abc'", "b'abc'"),
        ("true", "true"),
        ("null", "null"),
        ("[1, 2]", "[1, 2]"),
        ("[]", "[]"),
        ("{'a': 1}", "{'a': 1}"),
        ("{1: 'a', 2: 'b'}", "{1: 'a', 2: 'b'}"),
        ("9223372036854775807", "9223372036854775807"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("9223372036854775808", "compile: invalid int literal"),
        ("18446744073709551615u", "18446744073709551615u"),
    ]);
}

#[test]
fn arithmetic() {
    check(&[
        ("1 + 2 * 3", "7"),
        ("(1 + 2) * 3", "9"),
        ("7 / 2", "3"),
        ("-7 / 2", "-3"),
        ("7 % 3", "1"),
        ("-7 % 3", "-1"),
        ("7u - 3u", "4u"),
        ("1.5 + 2.25", "3.75"),
        ("1.0 / 0.0", "inf"),
        ("-(-3)", "3"),
        ("1 / 0", "error: division by zero"),
        ("1 % 0", "error: modulus by zero"),
        ("9223372036854775807 + 1", "error: integer overflow"),
        ("-9223372036854775808 - 1", "error: integer overflow"),
        ("1u - 2u", "error: unsigned integer overflow"),
        ("9223372036854775807 * 2", "error: integer overflow"),
        ("1 + 1u", "compile: found no matching overload for '_+_' applied to '(int, uint)'"),
        ("1 + 1.0", "compile: found no matching overload for '_+_' applied to '(int, double)'"),
        ("1 + 'a'", "compile: found no matching overload for '_+_' applied to '(int, string)'"),
        ("1.0 % 2.0", "compile: found no matching overload for '_%_' applied to '(double, double)'"),
        ("'a' + 'b'", "'ab'"),
        ("b'a' + b'b'", "b'ab'"),
        ("[1] + [2]", "[1, 2]"),
        ("dyn(1) + dyn('a')", "error: no such overload"),
    ]);
}

#[test]
fn comparisons() {
    check(&[
        ("1 == 1", "true"),
        ("1 == 1.0", "compile: found no matching overload for '_==_' applied to '(int, double)'"),
        ("dyn(1) == 1.0", "true"),
        ("dyn(1) == 1u", "true"),
        ("dyn(1) == 'a'", "false"),
        ("dyn(9007199254740993) == 9007199254740992.0", "true"),
        ("dyn(9007199254740993) == 9007199254740994u", "false"),
        ("1 < 1.5", "true"),
        ("1u < 2", "true"),
        ("2 > 1u", "true"),
        ("-1 < 0u", "true"),
        ("1.0 <= 1", "true"),
        ("'a' < 'b'", "true"),
        ("b'a' < b'b'", "true"),
        ("false < true", "true"),
        ("[1, 2] == [1, 2]", "true"),
        ("[1, 2] == [2, 1]", "false"),
        ("{'a': 1, 'b': 2} == {'b': 2, 'a': 1}", "true"),
        ("{'a': 1} != {'a': 2}", "true"),
        ("null == null", "true"),
        ("double('NaN') == double('NaN')", "false"),
        ("double('NaN') < 1.0", "error: NaN values cannot be ordered"),
        ("'a' == 1", "compile: found no matching overload for '_==_' applied to '(string, int)'"),
        ("[1] < [2]", "compile: found no matching overload for '_<_' applied to '(list(int), list(int))'"),
        ("duration('1h') > duration('1m')", "true"),
        ("timestamp('2024-01-01T00:00:00Z') < timestamp('2024-01-02T00:00:00Z')", "true"),
    ]);
}

#[test]
fn logic() {
    check(&[
        ("true && false", "false"),
        ("true || false", "true"),
        ("!true", "false"),
        ("!!true", "true"),
        ("false && 1 / 0 == 1", "false"),
        ("1 / 0 == 1 && false", "false"),
        ("1 / 0 == 1 || true", "true"),
        ("true && 1 / 0 == 1", "error: division by zero"),
        ("1 / 0 == 1 || false", "error: division by zero"),
        ("true ? 1 : 2", "1"),
        ("false ? 1 / 0 : 2", "2"),
        ("1 / 0 == 1 ? 1 : 2", "error: division by zero"),
        ("true ? 1 : 'a'", "compile: found no matching overload for '_?_:_' applied to '(bool, int, string)'"),
        ("1 && true", "compile: expected type 'bool' but found 'int'"),
        ("dyn(1) && true", "error: no such overload"),
        ("dyn(1) && false", "false"),
    ]);
}

#[test]
fn access() {
    check(&[
        ("[1, 2, 3][1]", "2"),
        ("[1, 2, 3][3]", "error: index out of bounds: 3"),
        ("[1, 2, 3][-1]", "error: index out of bounds: -1"),
        ("[1][dyn(0.0)]", "1"),
        ("{'a': 1}['a']", "1"),
        ("{'a': 1}.a", "1"),
        ("{'a': {'b': 2}}.a.b", "2"),
        ("{'a': 1}.b", "error: no such key: b"),
        ("{1: 'x'}[1u]", "compile: found no matching overload for '_[_]' applied to '(map(int, string), uint)'"),
        ("{1: 'x'}[dyn(1u)]", "'x'"),
        ("{1: 'x'}[dyn(1.0)]", "'x'"),
        ("has({'a': 1}.a)", "true"),
        ("has({'a': 1}.b)", "false"),
        ("has({'a': null}.a)", "true"),
        ("has('a')", "compile: invalid argument to has() macro"),
        ("1 in [1, 2]", "true"),
        ("3 in [1, 2]", "false"),
        ("'a' in {'a': 1}", "true"),
        ("'b' in {'a': 1}", "false"),
        ("dyn(1.0) in [1, 2]", "true"),
        ("'a' in [1]", "compile: found no matching overload for '@in' applied to '(string, list(int))'"),
        ("size([1, 2])", "2"),
        ("size('héllo')", "5"),
        ("'abc'.size()", "3"),
        ("size({'a': 1})", "1"),
        ("size(b'abc')", "3"),
        ("size(1)", "compile: found no matching overload for 'size' applied to '(int)'"),
        ("(1).a", "compile: type 'int' does not support field selection"),
        ("x", "compile: undeclared reference to 'x' (in container '')"),
        ("f(1)", "compile: undeclared reference to 'f' (in container '')"),
        ("'a'.f()", "compile: undeclared reference to 'f' (in container '')"),
        ("A{b: 1}", "compile: undeclared reference to 'A' (in container '')"),
        ("{'a': 1, 'a': 2}", "error: Failed with repeated key: a"),
        ("[1, 'a']", "compile: expected type 'int' but found 'string'"),
        ("[dyn(1), 'a']", "[1, 'a']"),
        ("{'a': 1, 2: 3}", "compile: expected type 'string' but found 'int'"),
    ]);
}

#[test]
fn comprehensions() {
    check(&[
        ("[1, 2, 3].all(x, x > 0)", "true"),
        ("[1, 2, 3].all(x, x > 1)", "false"),
        ("[].all(x, x > 0)", "true"),
        ("[1, 0].all(x, 1 / x > 1)", "false"),
        ("[0, 1].all(x, 1 / x > 0)", "error: division by zero"),
        ("[0, 1].exists(x, 1 / x > 0)", "true"),
        ("[1, 2].exists(x, x == 2)", "true"),
        ("[1, 2].exists(x, x == 3)", "false"),
        ("[1, 2, 2].exists_one(x, x == 1)", "true"),
        ("[1, 2, 2].exists_one(x, x == 2)", "false"),
        ("[1, 2, 3].map(x, x * 2)", "[2, 4, 6]"),
        ("[1, 2, 3].map(x, x > 1, x * 2)", "[4, 6]"),
        ("[1, 2, 3].filter(x, x > 1)", "[2, 3]"),
        ("{'a': 1, 'b': 2}.map(k, k)", "['a', 'b']"),
        ("{'a': 1, 'b': 2}.all(k, k != 'c')", "true"),
        ("{'a': 1, 'b': 2}.filter(k, k == 'a')", "['a']"),
        ("[[1], [2, 3]].map(x, x.map(y, y + 1))", "[[2], [3, 4]]"),
        ("[1, 2].map(x, [3, 4].map(y, x * y))", "[[3, 4], [6, 8]]"),
        ("[1, 2].map(x, [x].map(x, x + 1)[0])", "[2, 3]"),
        ("[1, 2].map(x, 7)", "[7, 7]"),
        ("[1].all(1, true)", "compile: argument must be a simple name"),
        (
            "'a'.all(x, true)",
            "compile: expression of type 'string' cannot be range of a comprehension (must be list, map, or dynamic)",
        ),
        ("[1].all(x, x)", "compile: expected type 'bool' but found 'int'"),
        ("dyn(1).all(x, true)", "error: no such overload"),
    ]);
}

#[test]
fn two_variables() {
    check(&[
        ("[1, 2, 3].all(i, v, i < v)", "true"),
        ("['a', 'b'].exists(i, v, i == 1 && v == 'b')", "true"),
        ("['a', 'b'].existsOne(i, v, v == 'b')", "true"),
        ("{'a': 1, 'b': 2}.all(k, v, v > 0)", "true"),
        ("{'a': 1, 'b': 2}.exists(k, v, k == 'b' && v == 2)", "true"),
        ("['a', 'b'].transformList(i, v, v + string(i))", "['a0', 'b1']"),
        ("[1, 2, 3].transformList(i, v, i > 0, v * 2)", "[4, 6]"),
        ("{'a': 1}.transformList(k, v, k)", "['a']"),
        ("['a', 'b'].transformMap(i, v, v)", "{0: 'a', 1: 'b'}"),
        ("{'a': 1, 'b': 2}.transformMap(k, v, v > 1, v * 10)", "{'b': 20}"),
        ("{'a': 'x'}.transformMapEntry(k, v, {v: k})", "{'x': 'a'}"),
        ("['x', 'x'].transformMapEntry(i, v, {v: i})", "error: insert failed: key x already exists"),
        ("[1].all(i, i, true)", "compile: duplicate variable name: i"),
    ]);
}

#[test]
fn optional_values() {
    check(&[
        ("optional.of(1)", "some(1)"),
        ("optional.none()", "none"),
        ("optional.ofNonZeroValue(0)", "none"),
        ("optional.ofNonZeroValue('')", "none"),
        ("optional.ofNonZeroValue(2)", "some(2)"),
        ("optional.of(1).hasValue()", "true"),
        ("optional.of(1).value()", "1"),
        ("optional.none().value()", "error: optional.none() dereference"),
        ("optional.none().or(optional.of(2))", "some(2)"),
        ("optional.of(1).or(optional.of(2))", "some(1)"),
        ("optional.none().orValue(3)", "3"),
        ("{'a': 1}.?a", "some(1)"),
        ("{'a': 1}.?b", "none"),
        ("{'a': {'b': 1}}.?a.b", "some(1)"),
        ("{'a': {'b': 1}}.?x.b", "none"),
        ("{'a': {'b': 1}}.?a.?c.orValue(5)", "5"),
        ("[1, 2][?1]", "some(2)"),
        ("[1, 2][?5]", "none"),
        ("{'a': 1}[?'a']", "some(1)"),
        ("[?optional.of(1), ?optional.none(), 3]", "[1, 3]"),
        ("{?'a': optional.of(1), ?'b': optional.none()}", "{'a': 1}"),
        ("has({'a': {'b': 1}}.?a.b)", "true"),
        ("optional.of(2).optMap(x, x * 2)", "some(4)"),
        ("optional.none().optMap(x, x * 2)", "none"),
        ("optional.of({'a': 1}).optFlatMap(m, m.?a)", "some(1)"),
        ("optional.of(1).optMap(x, x + 1).optMap(x, x + 1)", "some(3)"),
        ("optional.unwrap([optional.of(1), optional.none()])", "[1]"),
        ("[optional.of(1), optional.none()].unwrapOpt()", "[1]"),
        ("[1, 2].first()", "some(1)"),
        ("[1, 2].last()", "some(2)"),
        ("[].first()", "none"),
        ("optional.of(1) == optional.of(1)", "true"),
        ("optional.none() == optional.of(1)", "false"),
    ]);
}

#[test]
fn conversions() {
    check(&[
        ("int('42')", "42"),
        ("int(3.9)", "3"),
        ("int(-3.9)", "-3"),
        ("int(7u)", "7"),
        ("int(1e30)", "error: integer overflow"),
        ("int(timestamp('1970-01-01T00:01:00Z'))", "60"),
        ("uint(3)", "3u"),
        ("uint(-1)", "error: unsigned integer overflow"),
        ("uint('5')", "5u"),
        ("double(3)", "3.0"),
        ("double('1.5')", "1.5"),
        ("string(1)", "'1'"),
        ("string(1.5)", "'1.5'"),
        ("string(1e21)", "'1e+21'"),
        ("string(0.00001)", "'1e-05'"),
        ("string(true)", "'true'"),
        ("string(b'abc')", "'abc'"),
        ("string(b'\\xff')", "error: invalid UTF-8 in bytes, cannot convert to string"),
        ("string(timestamp('2024-01-02T03:04:05.5Z'))", "'2024-01-02T03:04:05.5Z'"),
        ("string(duration('90m'))", "'5400s'"),
        ("bytes('é') == b'\\303\\251'", "true"),
        ("bool('true')", "true"),
        ("bool('nope')", "error: type conversion error from 'string' to 'bool'"),
        ("type(1) == int", "true"),
        ("type('a') == string", "true"),
        ("type([1]) == list", "true"),
        ("type({}) == map", "true"),
        ("type(null) == null_type", "true"),
        ("type(type(1)) == type", "true"),
        ("type(duration('1s')) == google.protobuf.Duration", "true"),
        ("dyn(1)", "1"),
    ]);
}

#[test]
fn time() {
    check(&[
        ("duration('1h30m')", "5400000000000ns"),
        ("duration('-1.5s')", "-1500000000ns"),
        ("duration('1')", "compile: invalid duration argument"),
        ("duration('10us')", "10000ns"),
        ("timestamp('2024-02-29T12:30:45Z').getFullYear()", "2024"),
        ("timestamp('2024-02-29T12:30:45Z').getMonth()", "1"),
        ("timestamp('2024-02-29T12:30:45Z').getDate()", "29"),
        ("timestamp('2024-02-29T12:30:45Z').getDayOfMonth()", "28"),
        ("timestamp('2024-02-29T12:30:45Z').getDayOfWeek()", "4"),
        ("timestamp('2024-02-25T12:30:45Z').getDayOfWeek()", "0"),
        ("timestamp('2024-02-29T12:30:45Z').getDayOfYear()", "59"),
        ("timestamp('2024-02-29T12:30:45Z').getHours()", "12"),
        ("timestamp('2024-02-29T12:30:45Z').getMinutes()", "30"),
        ("timestamp('2024-02-29T12:30:45Z').getSeconds()", "45"),
        ("timestamp('2024-02-29T12:30:45.678Z').getMilliseconds()", "678"),
        ("timestamp('2024-02-29T12:30:45Z').getHours('America/New_York')", "7"),
        ("timestamp('2024-02-29T12:30:45Z').getHours('+05:30')", "18"),
        ("timestamp('2024-02-29T12:30:45Z').getMinutes('-00:15')", "15"),
        ("timestamp('2024-02-29T12:30:45Z').getHours('Nowhere')", "error: unknown time zone Nowhere"),
        ("timestamp('2024-01-01T00:00:00Z') + duration('24h')", "2024-01-02T00:00:00Z"),
        ("duration('1h') + timestamp('2024-01-01T00:00:00Z')", "2024-01-01T01:00:00Z"),
        ("timestamp('2024-01-02T00:00:00Z') - duration('24h')", "2024-01-01T00:00:00Z"),
        ("timestamp('2024-01-02T00:00:00Z') - timestamp('2024-01-01T00:00:00Z')", "86400000000000ns"),
        ("timestamp('2024-01-01T02:00:00+02:00') == timestamp('2024-01-01T00:00:00Z')", "true"),
        ("timestamp('yesterday')", "compile: invalid timestamp argument"),
        ("timestamp(0)", "1970-01-01T00:00:00Z"),
        ("timestamp('9999-12-30T00:00:00Z') + duration('48h')", "error: timestamp overflow"),
        ("duration('1h').getMinutes()", "60"),
        ("duration('3661s').getHours()", "1"),
        ("duration('1.5s').getMilliseconds()", "1500"),
        ("duration('1h') + duration('1m') - duration('1m')", "3600000000000ns"),
    ]);
}
