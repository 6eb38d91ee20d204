"""The entries of NO_PROXY in the notations of other tools. None can express every entry; the rest is left out and reported."""

from collections.abc import Callable, Iterable

from tunnelctl.client.route.no_proxy import ADDRESS, DOMAIN, EVERYTHING, NETWORK, PATTERN, WITHOUT_DOT, Entry

# This machine itself, which no proxy can reach. Tools that go to the proxy even for it have to be told.
LOOPBACK = (Entry(DOMAIN, "localhost"), Entry(ADDRESS, "127.0.0.1"), Entry(ADDRESS, "::1"))

Notation = Callable[[Entry], list[str]]  # the forms of an entry in a tool's list; none: the tool has no form for it


def names_and_networks(entry: Entry) -> list[str]:
    """The form of curl, Go, npm and Python's requests: a name stands for those below it, networks are in CIDR form."""
    if entry.kind in (WITHOUT_DOT, PATTERN):
        return []
    return [_with_port(entry, "*" if entry.kind == EVERYTHING else entry.text)]


def names(entry: Entry) -> list[str]:
    """The form of wget, which compares the end of a name."""
    return [entry.text] if entry.kind in (DOMAIN, ADDRESS) and not entry.port else []


def wildcards(entry: Entry) -> list[str]:
    """The form of Java and of the JetBrains IDEs: `*` at the start or at the end of a pattern, and no port."""
    if entry.port or entry.kind == WITHOUT_DOT:
        return []
    if entry.kind == EVERYTHING:
        return ["*"]
    if entry.kind == DOMAIN:
        return [entry.text, f"*.{entry.text}"]
    if entry.kind == NETWORK:
        return _octets(entry.text)
    inner = entry.text[1:-1] if entry.kind == PATTERN else ""
    if "*" in inner or "?" in entry.text:
        return []
    return [f"[{entry.text}]" if entry.kind == ADDRESS and ":" in entry.text else entry.text]


def hosts(entry: Entry) -> list[str]:
    """Single hosts: of a domain only the name itself."""
    return [entry.text] if entry.kind in (DOMAIN, ADDRESS) and not entry.port else []


def hosts_and_one_level(entry: Entry) -> list[str]:
    """The form of git's URLs, in which `*` stands for one label: of a domain the name itself, and the names directly below it."""
    return [form for host in hosts(entry) for form in ([host, f"*.{host}"] if entry.kind == DOMAIN else [host])]


def gnome(entry: Entry) -> list[str]:
    """The form of GNOME's ignore-hosts: names, *.DOMAIN, addresses and networks, with a port or without."""
    if entry.kind in (WITHOUT_DOT, PATTERN, EVERYTHING):
        return []
    forms = [entry.text, f"*.{entry.text}"] if entry.kind == DOMAIN else [entry.text]
    return [_with_port(entry, form) for form in forms]


def written(entries: Iterable[Entry], notation: Notation) -> list[str]:
    """Returns the forms of these entries in a notation, each once."""
    return list(dict.fromkeys(form for entry in entries for form in notation(entry)))


def left_out(entries: Iterable[Entry], notation: Notation) -> list[str]:
    """Returns the entries that have no form in a notation, as NO_PROXY has them."""
    return [spelled(entry) for entry in entries if not notation(entry)]


def spelled(entry: Entry) -> str:
    """Returns an entry as NO_PROXY has it."""
    return _with_port(entry, {EVERYTHING: "*", WITHOUT_DOT: "<local>"}.get(entry.kind, entry.text))


def _with_port(entry: Entry, text: str) -> str:
    if not entry.port:
        return text
    return f"[{text}]:{entry.port}" if ":" in text else f"{text}:{entry.port}"


def _octets(network: str) -> list[str]:
    """Returns an IPv4 network of whole octets as a pattern: 10.0.0.0/8 is 10.*"""
    address, _, bits = network.partition("/")
    if ":" in network or bits not in ("8", "16", "24", "32"):
        return []
    count = int(bits) // 8
    return [".".join(address.split(".")[:count]) + (".*" if count < 4 else "")]
