//! Kubernetes' libraries and the extensions that it takes from cel-go:
//! <https://kubernetes.io/docs/reference/using-api/cel/>.

use crate::table::check;

#[test]
fn strings() {
    check(&[
        ("'hello'.contains('ell')", "true"),
        ("'hello'.startsWith('he')", "true"),
        ("'hello'.endsWith('lo')", "true"),
        ("'héllo'.charAt(1)", "'é'"),
        ("'hello'.charAt(5)", "''"),
        ("'hello'.charAt(6)", "error: index out of range: 6"),
        ("'hello hello'.indexOf('ello')", "1"),
        ("'hello hello'.indexOf('ello', 2)", "7"),
        ("'hello'.indexOf('x')", "-1"),
        ("'hello'.indexOf('')", "0"),
        ("'hello'.indexOf('h', 20)", "-1"),
        ("'hello'.indexOf('', 20)", "5"),
        ("'hello'.indexOf('h', -1)", "error: index out of range: -1"),
        ("'hello'.lastIndexOf('o', 20)", "-1"),
        ("'héllo'.indexOf('l')", "2"),
        ("'hello hello'.lastIndexOf('ello')", "7"),
        ("'hello hello'.lastIndexOf('ello', 6)", "1"),
        ("'hello'.lastIndexOf('x')", "-1"),
        ("'hello'.lastIndexOf('')", "5"),
        ("'hello'.lastIndexOf('', 2)", "2"),
        ("'hello'.indexOf('', 2)", "2"),
        ("'aaa'.lastIndexOf('aa', 0)", "0"),
        ("['a', 'b'].join()", "'ab'"),
        ("['a', 'b'].join('-')", "'a-b'"),
        ("[].join('-')", "''"),
        ("[1].join('-')", "compile: found no matching overload for 'join' applied to 'list(int).(string)'"),
        ("'TacoCat'.lowerAscii()", "'tacocat'"),
        ("'TacoCÆt'.lowerAscii()", "'tacocÆt'"),
        ("'TacoCat'.upperAscii()", "'TACOCAT'"),
        ("'hello hello'.replace('he', 'we')", "'wello wello'"),
        ("'hello hello'.replace('he', 'we', 1)", "'wello hello'"),
        ("'hello hello'.replace('he', 'we', 0)", "'hello hello'"),
        ("'ab'.replace('', '-')", "'-a-b-'"),
        ("'a,b,c'.split(',')", "['a', 'b', 'c']"),
        ("'a,b,c'.split(',', 2)", "['a', 'b,c']"),
        ("'a,b,c'.split(',', 0)", "[]"),
        ("'abc'.split('')", "['a', 'b', 'c']"),
        ("'tacocat'.substring(4)", "'cat'"),
        ("'tacocat'.substring(0, 4)", "'taco'"),
        ("'tacocat'.substring(-1)", "error: index out of range: -1"),
        ("'tacocat'.substring(2, 1)", "error: invalid substring range. start: 2, end: 1"),
        ("'  \\ttrim\\n  '.trim()", "'trim'"),
        ("strings.quote('single\"quote')", "'\"single\\\"quote\"'"),
        ("strings.quote('a\\nb')", "'\"a\\nb\"'"),
    ]);
}

#[test]
fn formatting() {
    check(&[
        ("'%s is %d'.format(['a', 1])", "'a is 1'"),
        ("'%%'.format([])", "'%'"),
        ("'%.2f'.format([1.234])", "'1.23'"),
        ("'%f'.format([1.5])", "'1.500000'"),
        ("'%e'.format([1052.032911275])", "'1.052033e+03'"),
        ("'%.3e'.format([1052.03])", "'1.052e+03'"),
        ("'%x'.format([255])", "'ff'"),
        ("'%X'.format([255])", "'FF'"),
        ("'%x'.format(['hi'])", "'6869'"),
        ("'%o'.format([8])", "'10'"),
        ("'%b'.format([5])", "'101'"),
        ("'%b'.format([true])", "'1'"),
        ("'%b'.format([-5])", "'-101'"),
        ("'%s'.format([[1, 'a', 1.5]])", "'[1, \"a\", 1.500000]'"),
        ("'%s'.format([['a', 'b']])", "'[\"a\", \"b\"]'"),
        ("'%s'.format([{'a': 1}])", "'{\"a\":1}'"),
        ("'%s'.format([null])", "'null'"),
        ("'%s'.format([true])", "'true'"),
        ("'%s'.format([duration('1h')])", "'3600s'"),
        ("'%s'.format([])", "error: index 0 out of range"),
        ("'%'.format([1])", "error: unexpected end of string"),
        ("'%d'.format([double('Infinity')])", "'Infinity'"),
    ]);
}

#[test]
fn lists() {
    check(&[
        ("[1, 2, 3].isSorted()", "true"),
        ("[2, 1].isSorted()", "false"),
        ("[].isSorted()", "true"),
        ("['a', 'b'].isSorted()", "true"),
        ("[1, 2, 3].sum()", "6"),
        ("[1.5, 2.5].sum()", "4.0"),
        ("[duration('1m'), duration('1s')].sum()", "61000000000ns"),
        ("[1, 3, 2].max()", "3"),
        ("[1, 3, 2].min()", "1"),
        ("['b', 'a'].min()", "'a'"),
        ("[1].filter(x, x > 1).min()", "error: min called on empty list"),
        ("[1, 2, 2].indexOf(2)", "1"),
        ("[1, 2, 2].lastIndexOf(2)", "2"),
        ("[1].indexOf(3)", "-1"),
        ("['a', 'b'].indexOf('b')", "1"),
        ("[1, 2, 3, 4].slice(1, 3)", "[2, 3]"),
        ("[1].slice(0, 2)", "error: cannot slice(0, 2), list is length 1"),
        ("[1].slice(-1, 1)", "error: cannot slice(-1, 1), negative indexes not supported"),
        ("[[1], [2, 3]].flatten()", "[1, 2, 3]"),
        ("[dyn([[1]]), dyn(2)].flatten(2)", "[1, 2]"),
        ("[3, 1, 2].sort()", "[1, 2, 3]"),
        ("['b', 'a'].sort()", "['a', 'b']"),
        ("['bb', 'a'].sortBy(x, size(x))", "['a', 'bb']"),
        ("[{'n': 2}, {'n': 1}].sortBy(x, x.n)", "[{'n': 1}, {'n': 2}]"),
        ("[1, 2, 1].distinct()", "[1, 2]"),
        ("[1, 2, 3].reverse()", "[3, 2, 1]"),
        ("lists.range(3)", "[0, 1, 2]"),
        ("lists.range(-1)", "[]"),
        ("sets.contains([1, 2], [2])", "true"),
        ("sets.contains([1], [2])", "false"),
        ("sets.equivalent([1, 2], [2, 1, 1])", "true"),
        ("sets.intersects([1], [1, 2])", "true"),
        ("sets.intersects([1], [2])", "false"),
    ]);
}

#[test]
fn patterns() {
    check(&[
        ("'abc'.matches('^a.c$')", "true"),
        ("matches('abc', 'b')", "true"),
        ("'abc'.matches('[')", "compile: invalid matches argument"),
        ("'abc 123'.find('[0-9]+')", "'123'"),
        ("'abc'.find('[0-9]+')", "''"),
        ("'1 2 3'.findAll('[0-9]')", "['1', '2', '3']"),
        ("'1 2 3'.findAll('[0-9]', 2)", "['1', '2']"),
        ("'1 2 3'.findAll('[0-9]', 0)", "[]"),
        ("'abc'.matches('a' + 'b')", "true"),
        // Classes are those of RE2.
        (r"'١'.matches(r'\d')", "false"),
        (r"'7'.matches(r'^\d$')", "true"),
        (r"'é'.matches(r'\w')", "false"),
        (r"'é'.matches(r'\W')", "true"),
        (r"'a.7'.matches(r'^[\w.]+$')", "true"),
        (r"'é'.matches(r'^[^\d\s]$')", "true"),
        (r"'a b'.matches(r'\bb')", "true"),
        (r"'[]&&'.matches(r'^[][&]+$')", "true"),
        (r"'ab1'.matches(r'^[[:alpha:]1]+$')", "true"),
        (r"'ABC'.matches('(?i)abc')", "true"),
        (r"'é'.matches(r'\p{L}')", "true"),
        (r"'α'.matches(r'\p{Greek}')", "true"),
    ]);
}

#[test]
fn urls() {
    check(&[
        ("isURL('https://user:pass@example.com:80/path?query=val#fragment')", "true"),
        ("isURL('/absolute-path')", "true"),
        ("isURL('https://a:b:c/')", "false"),
        ("isURL('../relative-path')", "false"),
        ("isURL('')", "false"),
        ("url('https://example.com/').getScheme()", "'https'"),
        ("url('/path').getScheme()", "''"),
        ("url('https://example.com:80/').getHost()", "'example.com:80'"),
        ("url('https://[::1]:80/').getHost()", "'[::1]:80'"),
        ("url('/path').getHost()", "''"),
        ("url('https://127.0.0.1:80/').getHostname()", "'127.0.0.1'"),
        ("url('https://[::1]:80/').getHostname()", "'::1'"),
        ("url('https://example.com:80/').getPort()", "'80'"),
        ("url('https://example.com/').getPort()", "''"),
        ("url('https://example.com/path with spaces/').getEscapedPath()", "'/path%20with%20spaces/'"),
        ("url('https://example.com').getEscapedPath()", "''"),
        ("url('https://example.com/path?k1=a&k2=b&k2=c').getQuery()", "{'k1': ['a'], 'k2': ['b', 'c']}"),
        ("url('https://example.com/?a b=c%20d').getQuery()", "{'a b': ['c d']}"),
        ("url('https://example.com/path').getQuery()", "{}"),
        (
            "url('../relative')",
            "error: URL parse error during conversion from string: parse \"../relative\": invalid URI for request",
        ),
    ]);
}

#[test]
fn networks() {
    check(&[
        ("isIP('127.0.0.1')", "true"),
        ("isIP('::ffff:1.2.3.4')", "false"),
        ("isIP('fe80::1%eth0')", "false"),
        ("isIP('127.0.0')", "false"),
        ("ip('::1').family()", "6"),
        ("ip('127.0.0.1').family()", "4"),
        ("ip('127.0.0.1').isLoopback()", "true"),
        ("ip('0.0.0.0').isUnspecified()", "true"),
        ("ip('224.0.0.1').isLinkLocalMulticast()", "true"),
        ("ip('ff02::1').isLinkLocalMulticast()", "true"),
        ("ip('169.254.169.254').isLinkLocalUnicast()", "true"),
        ("ip('192.168.0.1').isGlobalUnicast()", "true"),
        ("ip('255.255.255.255').isGlobalUnicast()", "false"),
        ("ip.isCanonical('2001:db8::abcd')", "true"),
        ("ip.isCanonical('2001:DB8::ABCD')", "false"),
        ("string(ip('2001:DB8::ABCD'))", "'2001:db8::abcd'"),
        ("ip('10.0.0.1') == ip('10.0.0.1')", "true"),
        ("isCIDR('192.168.0.0/24')", "true"),
        ("isCIDR('192.168.0.0/33')", "false"),
        ("isCIDR('192.168.0.0')", "false"),
        ("cidr('192.168.0.0/24').containsIP('192.168.0.1')", "true"),
        ("cidr('192.168.0.0/24').containsIP(ip('192.168.1.1'))", "false"),
        ("cidr('192.168.0.0/16').containsCIDR('192.168.10.0/24')", "true"),
        ("cidr('192.168.0.0/24').containsCIDR(cidr('192.168.0.0/16'))", "false"),
        ("cidr('192.168.1.5/24').ip() == ip('192.168.1.5')", "true"),
        ("cidr('192.168.1.5/24').masked() == cidr('192.168.1.0/24')", "true"),
        ("cidr('::1/128').prefixLength()", "128"),
        ("string(cidr('192.168.0.0/24'))", "'192.168.0.0/24'"),
        ("type(ip('::1')) == net.IP", "true"),
    ]);
}

#[test]
fn quantities() {
    check(&[
        ("isQuantity('1.3Gi')", "true"),
        ("isQuantity('1.3GiB')", "false"),
        ("quantity('500000G').isInteger()", "true"),
        ("quantity('1.5').isInteger()", "false"),
        ("quantity('50k').asInteger()", "50000"),
        ("quantity('1500m').asApproximateFloat()", "1.5"),
        ("quantity('1.5').asInteger()", "error: cannot convert value to integer"),
        ("quantity('200M').compareTo(quantity('0.2G'))", "0"),
        ("quantity('50Mi').isLessThan(quantity('50M'))", "false"),
        ("quantity('50Mi').isGreaterThan(quantity('50M'))", "true"),
        ("quantity('50k').add(quantity('20k')) == quantity('70k')", "true"),
        ("quantity('50k').add(20) == quantity('50020')", "true"),
        ("quantity('50k').sub(20000) == quantity('30k')", "true"),
        ("sign(quantity('-1'))", "-1"),
        (
            "quantity('x')",
            "error: quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
    ]);
}

#[test]
fn versions() {
    check(&[
        ("isSemver('1.0.0')", "true"),
        ("isSemver('v1.0')", "false"),
        ("isSemver('v1.0', true)", "true"),
        ("semver('1.2.3').major()", "1"),
        ("semver('1.2.3').minor()", "2"),
        ("semver('1.2.3').patch()", "3"),
        ("semver('v1.01', true) == semver('1.1.0')", "true"),
        ("semver('1.2.3').compareTo(semver('2.0.0'))", "-1"),
        ("semver('1.2.3').isLessThan(semver('1.2.4'))", "true"),
        ("semver('1.0.0-alpha').isLessThan(semver('1.0.0'))", "true"),
        ("semver('0.1.0').isGreaterThan(semver('0.0.9'))", "true"),
    ]);
}

#[test]
fn formats() {
    check(&[
        ("format.named('dns1123Label').hasValue()", "true"),
        ("format.named('nothing').hasValue()", "false"),
        ("format.dns1123Label().validate('my-label-name')", "none"),
        ("format.dns1123Label().validate('Not_A_Label').hasValue()", "true"),
        ("!format.dns1123Subdomain().validate('apiextensions.k8s.io').hasValue()", "true"),
        ("!format.qualifiedName().validate('apiextensions.k8s.io/v1beta1').hasValue()", "true"),
        ("!format.dns1123LabelPrefix().validate('my-label-prefix-').hasValue()", "true"),
        ("!format.labelValue().validate('my-cool-label-Value').hasValue()", "true"),
        ("!format.uri().validate('http://example.com').hasValue()", "true"),
        ("!format.uuid().validate('123e4567-e89b-12d3-a456-426614174000').hasValue()", "true"),
        ("format.uuid().validate('x')", "some(['does not match the UUID format'])"),
        ("!format.byte().validate('aGVsbG8=').hasValue()", "true"),
        ("!format.date().validate('2021-01-01').hasValue()", "true"),
        ("!format.datetime().validate('2021-01-01T00:00:00Z').hasValue()", "true"),
    ]);
}
