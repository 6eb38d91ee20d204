"""The warnings and the lines of -v that the manual lists. They end nothing, and have no code; a test holds them against the source.

A place in braces is what the program knows only when it warns.
"""

WARNINGS = (
    "{address} can be reached from other machines, and they need no login to use it",
    "--users has no effect: a port that leads to one target cannot require a login",
    "Host is {host} for the nearest proxy, and not the target, which RFC 9112 requires",
    "access log {path}: it does not open: the old one stays in use until it does",
    "access log {path}: {reason}: the old one stays in use",
    "access log: the last write has not come back: {n} records may be lost",
    "access log: {reason}: {n} records lost so far",
    "cannot listen on {address}: {reason}",
    "certificate file {path}: a certificate has expired: it was good until {time}",
    "certificate file {path}: a certificate is not valid yet, but from {time} on",
    "certificate file {path}: the certificate of {subject} has expired: it was good until {time}",
    "certificate file {path}: the certificate of {subject} is not valid yet, but from {time} on",
    "fault in a connection: {name}: {fault}",
    "fault in a tunnel: {name}: {fault}",
    "there is no control socket: {what}: {cause}",
    "fault in a worker: {name}: {fault}",
    "fault in an admin request: {name}: {fault}",
    "fault in an answer to another worker: {name}: {fault}",
    "file of client authorities {path}: a certificate has expired: it was good until {time}",
    "file of client authorities {path}: a certificate is not valid yet, but from {time} on",
    "file of client authorities {path}: the certificate of {subject} has expired: it was good until {time}",
    "file of client authorities {path}: the certificate of {subject} is not valid yet, but from {time} on",
    "git has a core.sshCommand, and obeys only the last: these lines replace it (name the hosts of both in one call)",
    "git:// URLs go without {list}: git gives core.gitProxy no flags; "
    "there the environment or the settings file has the proxy and its login",
    "git:// URLs stay direct: core.gitProxy takes the path of a program and no arguments",
    "git:// URLs with a port stay direct: core.gitProxy is no more precise",
    "git:// URLs with a port stay direct, and those of {list} are rerouted too: core.gitProxy is no more precise",
    "no PROXY header from {client}: {reason}",
    "no file was read again: {reason}",
    "no new connections: {reason}; {n} are open, and go on",
    "proxy {proxy} can be reached again: tunnels go through it",
    "{what}: {cause}: tunnels go directly to their targets until a proxy can be reached",
    "PAC file {source} cannot be read again, and is used as it was: {cause}",
    "PAC file {source}: {entry} is skipped: it is no proxy that is known here",
    "proxy {proxy} gets no header fields: SOCKS has none",
    "proxy {proxy} speaks TLS, not plain HTTP: its URL is https://{proxy}",
    "reading the files again takes longer than {n} s: what was read before stays in force until it ends",
    "settings file {path}: it has a password, and others can read it; chmod 600 helps",
    "the certificate of proxy {proxy} is not checked: an on-path attacker can read and change everything",
    "the files are still being read because of an earlier SIGHUP, and not once more: send another one later",
    "the old {what} stays in force: {error}",
    "the old {what} stays in force: {error} (hint: {hint})",
    "tunnel to {target}: ended by {who} after {n} s, 0 bytes received: {hint}",
    "{command} has not used the proxy: if it used the network, it went around it",
    "{file}: others can read it; chmod 600 keeps it to yourself",
    "worker {pid} ended with status {status}, as {n} others have in the last minute: stopping",
    "worker {pid} ended with status {status}: another takes its place in {n} s",
    "worker {pid} hangs: it is killed",
)

# Codes of the errors about an entry of no_proxy: such an entry is passed over, and -v shows the cause.
PASSED_OVER = ("no-proxy-entry", "no-proxy-pattern", "no-proxy-network")
