"""Tests PAC files: the functions of the specification, name lookups, and hostile scripts."""

import errno
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.client.harness import TraceLog
from tunnelctl.cli.render.hints import hint_of
from tunnelctl.client.pac import finder as pac
from tunnelctl.client.pac import worker as pac_worker
from tunnelctl.client.pac.finder import Pac
from tunnelctl.engine.kernel import BusyResourceError, Nursery, run
from tunnelctl.engine.resolver import SocketAddress
from tunnelctl.errors import SettingsError, Unreachable
from tunnelctl.packages import install_command
from tunnelctl.proto.address import Address, parse_authority, shown
from tunnelctl.status import ExitStatus

TARGET = Address("host.test", 443)
NAMES = {
    "host.test": ["192.0.2.7", "2001:db8::7"],
    "six.test": ["2001:db8::6"],
    "internal.test": ["10.1.2.3"],
}


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Answers lookups from a table; returns the names that were looked up."""
    asked = []

    async def resolve(host: str, port: int) -> list[SocketAddress]:
        asked.append(host)
        if host not in NAMES:
            raise OSError("no such name")
        return [SocketAddress(0, address, port) for address in NAMES[host]]

    monkeypatch.setattr(pac, "resolve", resolve)
    monkeypatch.setattr(pac, "_own_addresses", lambda: ["2001:db8::1", "198.51.100.1"])
    return asked


def find(directory: Path, script: str, *targets: str, trace: TraceLog | None = None) -> list[list[str]]:
    """Returns the choices for each target, one lookup after another from one Pac."""
    file = directory / "proxy.pac"
    file.write_text(script)
    asked = Pac(str(file), trace or TraceLog())

    async def main() -> list[list[str]]:
        found = [await asked.find(parse_authority(target)) for target in targets or ("host.test:443",)]
        return [["DIRECT" if choice is None else str(choice) for choice in choices] for choices in found]

    return run(main)


def fails(directory: Path, script: str) -> str:
    with pytest.raises(SettingsError) as caught:
        find(directory, script)
    assert caught.value.exit_status == ExitStatus.SETTINGS
    assert shown(str(directory / "proxy.pac")) in caught.value.what
    return caught.value.cause


def returning(expression: str) -> str:
    return f"function FindProxyForURL(url, host) {{ return {expression}; }}"


# --- files like those in real use

COMPANY = """
// generated; do not edit
var proxy = "PROXY proxy1.corp.test:8080; PROXY proxy2.corp.test:8080";
function FindProxyForURL(url, host)
{
    host = host.toLowerCase();
    if (isPlainHostName(host) || dnsDomainIs(host, ".corp.test") || shExpMatch(host, "*.local"))
        return "DIRECT";
    if (isInNet(dnsResolve(host), "10.0.0.0", "255.0.0.0") || isInNet(host, "127.0.0.0", "255.0.0.0"))
        return 'DIRECT';
    if (url.substring(0, 6) == "https:" && shExpMatch(url, "https://*.bank.test/*"))
        return "HTTPS secure.corp.test";
    if (/^git\\./.test(host)) return "SOCKS5 socks.corp.test:1080; DIRECT";
    return proxy;
}
"""


@pytest.mark.parametrize(
    ("target", "choices"),
    [
        ("intranet:80", ["DIRECT"]),
        ("www.corp.test:443", ["DIRECT"]),
        ("printer.local:443", ["DIRECT"]),
        ("internal.test:22", ["DIRECT"]),
        ("127.0.0.1:22", ["DIRECT"]),
        ("www.bank.test:443", ["https://secure.corp.test:443"]),
        ("git.host.test:22", ["socks5://socks.corp.test:1080", "DIRECT"]),
        ("host.test:443", ["http://proxy1.corp.test:8080", "http://proxy2.corp.test:8080"]),
    ],
)
def test_a_typical_company_file(tmp_path: Path, target: str, choices: list[str]) -> None:
    assert find(tmp_path, COMPANY, target) == [choices]


def test_global_state_lookups_at_load_time_and_modern_syntax(tmp_path: Path) -> None:
    script = """
    const table = new Map([[dnsResolve("internal.test"), "PROXY inside:1"]]);
    let calls = 0;
    const FindProxyForURL = (url, host) => { calls++; return table.get("10.1.2.3") ?? `DIRECT ${calls}`; };
    """
    assert find(tmp_path, script) == [["http://inside:1"]]


def test_the_script_receives_url_and_host(tmp_path: Path) -> None:
    trace = TraceLog()
    find(
        tmp_path, "function FindProxyForURL(url, host) { alert(url + ' ' + host); return null; }", "[::1]:22", "a:443", trace=trace
    )
    assert trace.named("alert") == [{"text": "https://[::1]:22/ ::1"}, {"text": "https://a/ a"}]


@pytest.mark.parametrize("expression", ["null", "undefined", "''", "' ; '", "'direct'"])
def test_an_empty_or_null_result_means_direct(tmp_path: Path, expression: str) -> None:
    assert find(tmp_path, returning(expression)) == [["DIRECT"]]


def test_invalid_entries_give_a_warning(tmp_path: Path) -> None:
    trace = TraceLog()
    assert find(tmp_path, returning("'QUIC a:1; PROXY b:2'"), trace=trace) == [["http://b:2"]]
    assert "'QUIC a:1'" in str(trace.named("warning"))


# --- the predefined functions

TRUE = """
isPlainHostName("www") && !isPlainHostName("www.test") && !isPlainHostName("::1")
dnsDomainIs("www.Corp.test", ".corp.TEST") && !dnsDomainIs("www", ".corp.test") && !dnsDomainIs("corp.test", ".corp.test")
localHostOrDomainIs("www.corp.test", "www.corp.test") && localHostOrDomainIs("www", "www.corp.test")
!localHostOrDomainIs("www.other.test", "www.corp.test") && !localHostOrDomainIs("home.corp.test", "www.corp.test")
!localHostOrDomainIs("ww", "www.corp.test")
isResolvable("host.test") && !isResolvable("six.test") && !isResolvable("none.test")
isResolvableEx("host.test") && isResolvableEx("six.test") && !isResolvableEx("none.test")
dnsResolve("host.test") === "192.0.2.7" && dnsResolve("HOST.test") === "192.0.2.7" && dnsResolve("six.test") === null
dnsResolve("192.0.2.9") === "192.0.2.9" && dnsResolve("none.test") === null && dnsResolve(null) === null
dnsResolve("bad name") === null && dnsResolve("x".repeat(300)) === null && dnsResolve("") === null
dnsResolveEx("host.test") === "192.0.2.7;2001:db8::7" && dnsResolveEx("none.test") === ""
isInNet("host.test", "192.0.2.0", "255.255.255.0") && !isInNet("host.test", "192.0.3.0", "255.255.255.0")
isInNet("192.0.2.7", "192.0.2.7", "255.255.255.255") && isInNet("192.0.2.7", "192.9.9.9", "255.0.0.0")
!isInNet("none.test", "0.0.0.0", "0.0.0.0") && !isInNet("six.test", "0.0.0.0", "0.0.0.0") && !isInNet(null, "0.0.0.0", "0.0.0.0")
!isInNet("192.0.2.7", "192.0.2", "255.255.255.0") && !isInNet("192.0.2.7", "192.0.2.0", "999.0.0.0")
isInNetEx("192.0.2.7", "192.0.2.0/25") && !isInNetEx("192.0.2.200", "192.0.2.0/25") && isInNetEx("192.0.2.7", "0.0.0.0/0")
isInNetEx("six.test", "2001:db8::/32") && isInNetEx("host.test", "2001:db8::/127") === false && isInNetEx("::1", "::1/128")
isInNetEx("2001:db8:8000::", "2001:db8:8000::/33") && !isInNetEx("2001:db8::", "2001:db8:8000::/33")
!isInNetEx("192.0.2.7", "192.0.2.0/33") && !isInNetEx("192.0.2.7", "192.0.2.0") && !isInNetEx("192.0.2.7", "x/8")
isInNetEx("::ffff:192.0.2.7", "::ffff:192.0.2.0/120") && !isInNetEx("::1", "0.0.0.0/0")
isInNetEx("192.168.1.1", "::ffff:192.168.1.1/112") && isInNetEx("::ffff:192.168.1.1", "192.168.0.0/16")
!isInNetEx("192.168.1.1", "::ffff:192.169.1.1/112") && !isInNetEx("::ffff:192.168.1.1", "192.169.0.0/16")
isInNetEx("192.168.1.1", "::/0") && isInNetEx("host.test", "::ffff:192.0.2.7/128") && !isInNetEx("192.168.1.1", "::/96")
convert_addr("10.1.2.3") === 167838211 && convert_addr("192.168.0.1") === -1062731775 && convert_addr("255.255.255.255") === -1
(convert_addr("10.1.2.3") & convert_addr("255.0.0.0")) === convert_addr("10.0.0.0") && convert_addr("1.2") === 16908288
convert_addr("") === 0 && convert_addr("x") === 0 && convert_addr("256.0.0.1") === 1
isValidIpAddress("10.1.2.3") && !isValidIpAddress("256.1.2.3") && !isValidIpAddress("::1") && !isValidIpAddress("host.test")
wdays.SUN === 0 && wdays.SAT === 6 && months.JAN === 0 && months.DEC === 11
!isInNetEx("1::2::3", "::/0") && !isInNetEx("1:2:3", "::/0") && !isInNetEx("1:2:3:4:5:6:7:8:9", "::/0") && !isInNetEx("x::", "::/0")
!isInNetEx("::y", "::/0") && !isInNetEx("1:2:3:4::5:6:7:8", "::/0") && isInNetEx("1:2:3:4:5:6:7:8", "1::/16")
myIpAddress() === "198.51.100.1" && myIpAddressEx() === "2001:db8::1;198.51.100.1"
dnsDomainLevels("www") === 0 && dnsDomainLevels("www.corp.test") === 2
shExpMatch("http://a.test/x/y", "*/x/*") && !shExpMatch("http://a.test/z", "*/x/*")
shExpMatch("ab", "a?") && !shExpMatch("a", "a?")
shExpMatch("a.b", "a.b") && !shExpMatch("axb", "a.b") && shExpMatch("[x](y)+", "[x](y)+") && !shExpMatch("x", "[x]")
shExpMatch("", "") && shExpMatch("", "**") && !shExpMatch("", "?") && !shExpMatch("abc", "ab") && shExpMatch("aXbXc", "a*X*c")
shExpMatch("mississippi", "m*issip*") && !shExpMatch("a".repeat(20000), "*a".repeat(200) + "b") && shExpMatch("a\\nb", "a*b")
sortIpAddressList("10.2.3.9;2001:db8::9;10.2.3.10; ::1") === "::1;2001:db8::9;10.2.3.9;10.2.3.10"
sortIpAddressList("10.0.0.1;x") === "" && sortIpAddressList("") === ""
getClientVersion() === "1.0" && alert("x") === undefined
""".strip().splitlines()

# It is Tuesday, 24 November 2026, 23:05:30, and in GMT Wednesday, 25 November, 04:05:30.
NOW = """
Date = class {
  getDay() { return 2; } getDate() { return 24; } getMonth() { return 10; } getFullYear() { return 2026; }
  getHours() { return 23; } getMinutes() { return 5; } getSeconds() { return 30; }
  getUTCDay() { return 3; } getUTCDate() { return 25; } getUTCMonth() { return 10; } getUTCFullYear() { return 2026; }
  getUTCHours() { return 4; } getUTCMinutes() { return 5; } getUTCSeconds() { return 30; }
};
"""

TIMES = """
weekdayRange("TUE") && weekdayRange("tue") && !weekdayRange("WED") && weekdayRange("WED", "GMT") && !weekdayRange("TUE", "GMT")
weekdayRange("MON", "FRI") && !weekdayRange("WED", "FRI") && weekdayRange("SAT", "TUE") && !weekdayRange("FRI", "MON")
!weekdayRange("TUESDAY") && !weekdayRange() && weekdayRange("WED", "THU", "GMT") && !weekdayRange("MON", "x")
dateRange(24) && !dateRange(25) && dateRange(25, "GMT") && dateRange("NOV")
!dateRange("DEC") && dateRange(2026) && !dateRange(2025)
dateRange(1, 24) && dateRange(24, 30) && !dateRange(1, 23) && dateRange(20, 5) && !dateRange(26, 5)
dateRange("JAN", "NOV") && dateRange("OCT", "FEB") && !dateRange("DEC", "FEB") && dateRange(2025, 2026) && !dateRange(2027, 2028)
dateRange(24, "NOV") && !dateRange(23, "NOV") && dateRange(24, "NOV", 2026) && !dateRange(24, "NOV", 2025)
dateRange(1, "JUN", 24, "NOV") && !dateRange(1, "JUN", 23, "NOV")
dateRange(24, "NOV", 1, "JAN") && !dateRange(25, "NOV", 1, "JAN")
dateRange("OCT", 2026, "MAR", 2027) && !dateRange("OCT", 2025, "MAR", 2026) && dateRange("NOV", 2026, "NOV", 2026, "GMT")
dateRange(1, "JUN", 1995, 24, "NOV", 2026) && !dateRange(25, "NOV", 2026, 1, "JAN", 2027)
!dateRange() && !dateRange("GMT") && !dateRange("x")
timeRange(23) && !timeRange(22) && timeRange(4, "GMT") && timeRange(9, 23)
!timeRange(9, 17) && timeRange(22, 6) && !timeRange(0, 6)
timeRange(23, 0, 23, 5) && !timeRange(23, 0, 23, 4) && timeRange(22, 30, 1, 0) && !timeRange(23, 6, 23, 4)
timeRange(23, 5, 30, 23, 5, 30) && !timeRange(23, 5, 31, 23, 5, 40)
timeRange(4, 5, 0, 4, 6, 0, "GMT") && !timeRange(0, 0, 0, 0, 0, 30)
!timeRange() && !timeRange("x") && !timeRange(1, 2, 3)
""".strip().splitlines()


def wrong(lines: list[str], before: str = "") -> list[str]:
    """Returns the lines that are not true; evaluates all of them in one run."""
    script = f"{before}\nfunction FindProxyForURL() {{ return JSON.stringify([{','.join(lines)}]); }}"
    known = {name: NAMES.get(name, []) for name in [*NAMES, "none.test", "null", "bad name"]}
    task = {
        "script": script, "url": "", "host": "",
        "known": known, "own": ["2001:db8::1", "198.51.100.1"], "room": 0, "seconds": 20,
    }  # fmt: skip
    report = pac._in_a_process(task)
    assert not report.get("failure"), report
    return [line for line, right in zip(lines, json.loads(report["answer"]), strict=True) if right is not True]


def test_the_functions_of_the_specification() -> None:
    assert wrong(TRUE) == []


def test_the_functions_of_date_and_time() -> None:
    assert wrong(TIMES, NOW) == []


# Defined by ascii_pac_utils.js and ProxyAutoConfig.cpp of Firefox, and pac_js_library.h and proxy_resolver_v8.cc of Chromium.
HELPERS = [
    *("alert", "convert_addr", "dateRange", "dnsDomainIs", "dnsDomainLevels", "dnsResolve", "isInNet", "isPlainHostName"),
    *("isResolvable", "isValidIpAddress", "localHostOrDomainIs", "myIpAddress", "shExpMatch", "timeRange", "weekdayRange"),
    *("dnsResolveEx", "isInNetEx", "isResolvableEx", "myIpAddressEx", "sortIpAddressList"),
]


def test_every_helper_of_firefox_and_chromium_exists() -> None:
    assert wrong([f'typeof {name} === "function"' for name in HELPERS]) == []
    assert wrong(['typeof wdays === "object"', 'typeof months === "object"']) == []


def test_a_script_may_redefine_the_helpers() -> None:
    """As it may in browsers, whose helpers are a script like any other."""
    own = "var months = 1, wdays = 2, convert_addr = 3; function isValidIpAddress() { return 4; }"
    assert wrong(["months === 1", "wdays === 2", "convert_addr === 3", "isValidIpAddress() === 4"], own) == []


def test_the_check_of_the_functions_can_fail() -> None:
    assert wrong(["true", "dnsDomainLevels('a.b') === 2"]) == ["dnsDomainLevels('a.b') === 2"]


def test_own_addresses_are_valid_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert all(parse_authority(f"[{own}]:1" if ":" in own else f"{own}:1") for own in pac._own_addresses())


# --- name lookups


def test_a_name_is_looked_up_once_and_the_script_restarts(tmp_path: Path, names: list[str]) -> None:
    trace = TraceLog()
    script = returning("dnsResolve('internal.test') === dnsResolve('INTERNAL.test') && dnsResolve(host) ? 'PROXY a' : 'PROXY b'")
    assert find(tmp_path, script, trace=trace) == [["http://a:80"]]
    assert names == ["internal.test", "host.test"]
    assert [fields["host"] for fields in trace.named("lookup")] == names


def test_a_script_that_catches_all_exceptions_still_gets_its_names(tmp_path: Path) -> None:
    script = "function FindProxyForURL() { try { return 'PROXY ' + dnsResolve('internal.test'); } catch (e) { return 'DIRECT'; } }"
    assert find(tmp_path, script) == [["http://10.1.2.3:80"]]


@pytest.mark.parametrize("caught", [True, False])
def test_the_number_of_lookups_is_limited(tmp_path: Path, names: list[str], caught: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pac, "MAX_NAMES", 5)
    call = "dnsResolve('n' + i + '.test')"
    loop = f"try {{ {call}; }} catch (e) {{}}" if caught else f"if ({call}) throw 'found';"
    script = f"function FindProxyForURL() {{ for (let i = 0; i < 5000; i++) {loop} return 'PROXY a'; }}"
    assert find(tmp_path, script) == [["http://a:80"]]
    assert len(names) == 5


def test_invalid_names_have_no_address_and_are_not_looked_up(tmp_path: Path, names: list[str]) -> None:
    bad = ["'a b'", "'\\0'", "'\\ud800'", "'-a'", "'0x7f.1'", "'ä'.repeat(200)", "{}", "'__proto__'"]
    script = f"""
    function FindProxyForURL() {{
      return [{",".join(bad)}].filter((name) => {{ try {{ return isResolvableEx(name); }} catch (e) {{ return false; }} }}).length
        ? "PROXY a" : "PROXY b";
    }}"""
    assert find(tmp_path, script) == [["http://b:80"]]
    assert names == ["__proto__"]


def test_tampering_with_the_helpers_does_not_bypass_the_limits(
    tmp_path: Path, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pac, "MAX_NAMES", 3)
    trace = TraceLog()
    script = """
    tunnelctl.report = () => JSON.stringify({
      answer: "PROXY a", missing: Array.from({length: 9}, () => "n" + Math.random()), alerts: Array(99).fill("x".repeat(999)),
    });
    function FindProxyForURL() {}
    """
    assert find(tmp_path, script, trace=trace) == [["http://a:80"]]
    assert len(names) == 3
    assert [len(str(alert["text"])) for alert in trace.named("alert")] == [200] * 20


# --- errors in a script


@pytest.mark.parametrize(
    ("script", "cause"),
    [
        ("", "it has no function FindProxyForURL"),
        ("var FindProxyForURL = 7;", "it has no function FindProxyForURL"),
        ("<html>", "script:1: SyntaxError"),
        ("// a\n\nvar x = y;", "script:3: ReferenceError: y is not defined"),
        ("function FindProxyForURL() {\n  throw 'no \\x1b[2J';\n}", "script:2: no \x1b[2J"),
        ("function FindProxyForURL() { return FindProxyForURL(); }", "RangeError: Maximum call stack size exceeded"),
        (returning("7"), "FindProxyForURL returned number, not a string"),
        (returning("['PROXY a']"), "FindProxyForURL returned object, not a string"),
        (returning("Promise.resolve('DIRECT')"), "FindProxyForURL returned object, not a string"),
        (returning("'x'.repeat(1 << 28)"), "FindProxyForURL returned 268435456 characters"),
        (returning("'what\\x1b'"), "names no proxy: 'what\\x1b'"),
        (returning("'PROXY'"), "names no proxy: 'PROXY'"),
        (returning("tunnelctl.report = () => 'x'"), "it crashed the JavaScript engine"),
    ],
)
def test_an_error_is_one_line_with_its_position(tmp_path: Path, script: str, cause: str) -> None:
    found = fails(tmp_path, script)
    assert cause in found
    assert "\n" not in found


KEEPING = "(() => {{ const kept = []; for (;;) kept.push({}); }})()"

LARGE = {
    "arrays": KEEPING.format("new Array(1000).fill(1)"),
    "typed arrays": KEEPING.format("new Uint8Array(1 << 20).fill(1)"),
    "a typed array": "new Float64Array(2 ** 27).fill(1.5).length",
    "one fill": "new Array(2 ** 28).fill(1).length",
    "sorting": "(() => { const all = Array.from({length: 3e6}, Math.random); for (;;) all.sort(); })()",
    "strings": KEEPING.format("'x'.repeat(1 << 20).split('').join('y')"),
    "pieces": "'x'.repeat((1 << 29) - 24).split('').length",
    "a buffer that grows": "(() => { const b = new ArrayBuffer(8, {maxByteLength: 2 ** 31}); b.resize(2 ** 30); })()",
    "WebAssembly": "new Uint8Array(new WebAssembly.Memory({initial: 16000}).buffer).fill(1).length",
    "a report": "(() => { tunnelctl.report = () => 'x'.repeat(1 << 28); })()",
}


@pytest.mark.once
@pytest.mark.parametrize("expression", LARGE.values(), ids=LARGE)
def test_a_script_that_uses_too_much_memory_is_ended(tmp_path: Path, expression: str) -> None:
    """For every kind of memory: V8's limit covers its heap only, and one step may exceed it. On a busy machine the time limit
    may come first.
    """
    (tmp_path / "proxy.pac").write_text(returning(expression))
    code = f"""
import resource, sys, time
from tests.client.harness import TraceLog
from tunnelctl.client.pac.finder import Pac
from tunnelctl.engine.kernel import run
from tunnelctl.errors import SettingsError
from tunnelctl.proto.address import Address
TARGET = Address("host.test", 443)
async def main():
    await Pac({str(tmp_path / "proxy.pac")!r}, TraceLog()).find(TARGET)
begun = time.monotonic()
try:
    run(main)
except SettingsError as error:
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> (20 if sys.platform == "darwin" else 10)
    print(error.cause, time.monotonic() - begun, most, sep="\\n")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=Path(__file__).parents[3])
    cause, seconds, most = done.stdout.splitlines()
    large = r"it takes more than \d+ MiB of memory|it crashed the JavaScript engine: it requires too much memory"
    assert re.fullmatch(f"{large}|no answer within 5 s", cause)
    assert float(seconds) < 9, "more than the time limit and a start on a busy machine"
    assert int(most) < 300, "MiB used by the process, of which V8 itself takes 66"


def test_memory_use_without_proc_is_the_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS, where only the peak is available."""
    now = pac_worker.resident()
    assert 1 << 20 < now < 1 << 40

    def missing(*_: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(pac_worker, "open", missing, raising=False)
    assert now // 2 < pac_worker.resident() < 1 << 40
    pac_worker._limit_data()  # does nothing


@pytest.mark.parametrize(
    "expression",
    [
        "((m) => { for (let i = 0; i < 2e5; i++) m.set('h' + i + '.test', 'PROXY p'); return m.get('h5.test'); })(new Map())",
        "((s) => { for (let i = 0; i < 3e6; i++) s += [i, {i}].length; return 'PROXY p'; })(0)",
    ],
    ids=["a long list", "garbage"],
)
def test_an_expensive_script_within_the_limits_succeeds(tmp_path: Path, expression: str) -> None:
    assert find(tmp_path, returning(expression)) == [["http://p:80"]]


@pytest.mark.parametrize(
    "script", ["for (;;) ;", returning("(() => { for (;;) ; })()"), returning("/(a+)+b/.test('a'.repeat(40))")]
)
def test_an_endless_script_exceeds_the_time_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    monkeypatch.setattr(pac, "SCRIPT_SECONDS", 1)
    assert fails(tmp_path, script) == "no answer within 1 s"


def test_an_engine_that_cannot_be_interrupted_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pac, "SCRIPT_SECONDS", 1)
    assert fails(tmp_path, "async function FindProxyForURL() { for (;;) await 0; }") == "no answer within 1 s"
    assert fails(tmp_path, returning("BigInt('9'.repeat(4e6)).toString().length")) == "no answer within 1 s"
    monkeypatch.setattr(pac, "SCRIPT_SECONDS", 60)
    monkeypatch.setattr(pac, "PROCESS_SECONDS", 0.3)
    assert fails(tmp_path, "for (;;) ;") == "no answer within 60 s"


@pytest.fixture
def without_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the interpreter find another module of that name first, one that cannot be loaded."""
    (tmp_path / "py_mini_racer.py").write_text("raise OSError('libmini_racer.so: wrong ELF class')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


@pytest.mark.usefixtures("without_engine")
def test_a_missing_engine_gives_an_installation_hint(tmp_path: Path) -> None:
    (tmp_path / "proxy.pac").write_text(returning("'DIRECT'"))

    async def main() -> None:
        await Pac(str(tmp_path / "proxy.pac"), TraceLog()).find(TARGET)

    with pytest.raises(SettingsError, match="wrong ELF class") as caught:
        run(main)
    assert hint_of(caught.value) == f"PAC files need the package mini-racer: {install_command('mini-racer')}"


def test_exhausted_resources_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(subprocess, "run", full)
    assert fails(tmp_path, returning("'DIRECT'")) == "the process for it cannot be started: too many open files"

    async def busy(*_: object) -> None:
        raise BusyResourceError

    monkeypatch.setattr(pac, "to_thread", busy)
    with pytest.raises(Unreachable, match="too many lookups are pending"):
        find(tmp_path, returning("'DIRECT'"))


def test_the_engine_is_not_loaded_into_this_process(tmp_path: Path) -> None:
    find(tmp_path, returning("'DIRECT'"))
    assert "py_mini_racer" not in sys.modules


# --- the cache


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Answers without V8; returns the hosts for which the script really ran."""
    hosts = []

    def answer(task: dict[str, object]) -> dict[str, object]:
        hosts.append(str(task["host"]))
        return {"answer": f"PROXY {task['host']}", "missing": [], "alerts": [], "failure": ""}

    monkeypatch.setattr(pac, "_in_a_process", answer)
    return hosts


def test_a_result_is_cached_by_host_and_port_for_five_minutes(
    tmp_path: Path, runs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(pac, "monotonic", lambda: now[0])
    file = tmp_path / "proxy.pac"
    file.write_text("")
    asked = Pac(str(file), TraceLog())

    async def main() -> None:
        await asked.find(TARGET)
        await asked.find(TARGET)
        assert len(runs) == 1
        await asked.find(TARGET._replace(port=22))
        assert len(runs) == 2
        now[0] += pac.CACHED_SECONDS
        await asked.find(TARGET)
        assert len(runs) == 3

    run(main)


def test_what_has_expired_is_renewed_before_its_next_use(tmp_path: Path, runs: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now, reads = [1000.0], []
    monkeypatch.setattr(pac, "monotonic", lambda: now[0])
    monkeypatch.setattr(pac, "read", lambda source: reads.append(source) or "")
    asked = Pac("proxy.pac", TraceLog())

    async def counts() -> tuple[int, int]:
        await asked.find(TARGET)
        return len(reads), len(runs)

    async def main() -> None:
        assert await counts() == (1, 1)
        now[0] += pac.FRESH_SECONDS - 1
        asked.expire(pac.FRESH_SECONDS)
        assert await counts() == (1, 1)
        now[0] += 2
        asked.expire(pac.FRESH_SECONDS)
        assert await counts() == (2, 2)
        now[0] += 0.1
        asked.expire()
        asked.expire(pac.FRESH_SECONDS)
        assert await counts() == (3, 3)
        assert await counts() == (3, 3)

    run(main)


def test_a_result_that_was_asked_for_before_it_expired_does_not_count(
    tmp_path: Path, runs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network changes while the script runs."""
    now = [1000.0]
    monkeypatch.setattr(pac, "monotonic", lambda: now[0])
    monkeypatch.setattr(pac, "read", lambda source: "")
    asked = Pac("proxy.pac", TraceLog())
    answer = pac._in_a_process

    def changing(task: dict[str, object]) -> dict[str, object]:
        now[0] += 0.1
        if not runs:
            asked.expire()
        return answer(task)

    monkeypatch.setattr(pac, "_in_a_process", changing)

    async def main() -> None:
        for _ in range(3):
            await asked.find(TARGET)

    run(main)
    assert len(runs) == 2


def test_the_script_is_reread_after_five_minutes_and_kept_if_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, release = [1000.0], threading.Event()
    monkeypatch.setattr(pac, "monotonic", lambda: now[0])
    trace, file = TraceLog(), tmp_path / "proxy.pac"
    asked = Pac(str(file), trace)

    async def answer() -> list[str]:
        return [str(choice) for choice in await asked.find(TARGET)]

    async def main() -> None:
        file.write_text(returning("'PROXY a.test:1'"))
        assert await answer() == ["http://a.test:1"]
        file.write_text(returning("'PROXY b.test:1'"))
        assert await answer() == ["http://a.test:1"]
        now[0] += pac.CACHED_SECONDS
        assert await answer() == ["http://b.test:1"]
        file.unlink()
        now[0] += pac.CACHED_SECONDS
        assert await answer() == ["http://b.test:1"]
        monkeypatch.setattr(pac, "AGAIN_SECONDS", 0.1)
        monkeypatch.setattr(pac, "read", lambda _: release.wait(20))
        now[0] += pac.CACHED_SECONDS
        assert await answer() == ["http://b.test:1"]
        release.set()

    run(main)
    kept = f"PAC file {shown(str(file))} cannot be read again, and is used as it was: "
    causes = ["no such file or directory", "no answer within 0.1 s"]
    assert trace.named("warning") == [{"text": kept + cause} for cause in causes]


def test_the_cache_is_bounded(tmp_path: Path, runs: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pac, "MAX_CACHED", 3)
    found = find(tmp_path, "", *(f"h{number}:1" for number in range(10)), "h9:1", "h8:1", "h7:1", "h0:1")
    assert found[-1] == ["http://h0:80"]
    assert runs == [*(f"h{number}" for number in range(10)), "h0"]


def test_concurrent_lookups(tmp_path: Path, runs: list[str]) -> None:
    file = tmp_path / "proxy.pac"
    file.write_text("")
    asked = Pac(str(file), TraceLog())

    async def one(number: int) -> None:
        assert str((await asked.find(Address(f"h{number}", 1)))[0]) == f"http://h{number}:80"

    async def main() -> None:
        async with Nursery() as nursery:
            for number in range(20):
                nursery.start_soon(one, number)

    run(main)
    assert sorted(runs) == sorted(f"h{number}" for number in range(20))
