"""The flags of commands that open no tunnels for others: the last part of the list in cli.spec.flags."""

from __future__ import annotations

from tunnelctl.cli.spec.flag import CHOICE, COUNT, LEVEL, SECONDS, SWITCH, TEXT, Flag

OTHER_FLAGS = (
    Flag(
        "expect", "", "SHA256", TEXT, "fingerprint or pin that the certificate of the target must have", ("check",), "Checks",
        brief="fingerprint or pin that the target must have",
        detail="As `openssl x509 -fingerprint -sha256` prints it, or as for curl's --pinnedpubkey. It requires --tls.",
    ),
    Flag(
        "get", "", "PATH", TEXT, "fetch this path from the target, by HTTP over the tunnel", ("check",), "Checks",
        brief="fetch this path from the target", common=("check",),
        detail="By https:// with --tls, and on port 443.",
    ),
    Flag(
        "idle", "", "SECONDS", SECONDS, "test whether a tunnel survives SECONDS of silence; 0: skip", ("check",), "Checks",
        brief="test whether a tunnel survives SECONDS of silence",
        default="0",
    ),
    Flag(
        "wait", "", "SECONDS", SECONDS, "keep trying for up to SECONDS until it works; 0: try once", ("check",), "Checks",
        brief="keep trying for up to SECONDS until it works", common=("check",),
        default="0",
        detail="Only failures that may pass are retried: a name that cannot be resolved, an unreachable proxy, but not a refusal.",
    ),
    Flag(
        "count", "", "N", COUNT, "measure N times, and show how the times spread", ("check",), "Checks",
        common=("check",),
        default="1", least=1, field="times",
    ),
    Flag(
        "watch", "", "", SWITCH, "repeat until q or Ctrl-C, with statistics of each phase", ("check",), "Checks",
        brief="repeat until q or Ctrl-C, with statistics", common=("check",),
        detail="On a terminal, a table is updated in place; elsewhere, there is a line for each attempt. The statistics follow at "
        "the end: the last, best, average and worst time of each phase, and its loss: the share of those that failed among "
        "those that began. --count limits the attempts. The further probes are left out. The status is that of the last attempt.",
    ),
    Flag(
        "interval", "", "SECONDS", SECONDS, "pause between two measurements", ("check",), "Checks",
        default="1",
    ),
    Flag(
        "target", "", "HOST:PORT", TEXT, "target to ask each proxy for", ("check",), "Without HOST PORT",
        repeat=True, field="targets",
        detail="The defaults are example.com:443 and github.com:22. The first one is expected to speak TLS if its port is 443 or "
        "--tls is given; its certificate then tells whether the proxy intercepts TLS.",
    ),
    Flag(
        "wpad", "", "", SWITCH, "look up wpad.DOMAIN, and use the PAC file there", ("check",), "Without HOST PORT",
        detail="Whoever owns that name in this network then chooses the proxies that are tried. Without this flag the name is "
        "shown, and not looked up.",
    ),
    Flag(
        "verbose", "v", "", LEVEL, "show where each setting came from", ("check",), "Output",
    ),
    Flag(
        "color", "", "WHEN", CHOICE, "colours: auto, always or never", ("check",), "Output",
        default="auto", choices=("auto", "always", "never"),
        detail="`auto` means on a terminal; NO_COLOR and FORCE_COLOR are obeyed.",
    ),
    Flag(
        "json", "", "", SWITCH, "results on stdout as JSON objects, one per line", ("check",), "Output",
        common=("check",),
        detail="Keys are only ever added.",
    ),
    Flag(
        "via", "", "NAME", TEXT, "name a -D port of the running forward NAME, the socket at PATH, or auto", ("env",), "Connection",
        brief="name a -D port of the running forward NAME", common=("env",),
        detail="The port must require no login. With `auto`, it is that of a forward with the same proxies, or the proxy itself if "
        "there is none.",
        choices=("auto",),
    ),
    Flag(
        "port", "", "PORT", TEXT, "name this port of 127.0.0.1", ("env",), "Connection",
        common=("env",),
    ),
    Flag(
        "shell", "", "SHELL", CHOICE, "shell to print for: sh (bash, dash, ksh, zsh) or fish", ("env",), "Output",
        brief="sh (bash, dash, ksh, zsh) or fish", common=("env",),
        default="sh", choices=("sh", "fish"),
    ),
    Flag(
        "git", "", "", SWITCH, "print the lines for ~/.gitconfig instead", ("ssh-config",), "Output",
        common=("ssh-config",),
        detail="core.sshCommand for ssh:// URLs and HOST:PATH, and core.gitProxy for git:// URLs without a port. "
        "core.sshCommand holds for the HOSTs only; core.gitProxy also for the hosts below each, and with *.DOMAIN for DOMAIN "
        "itself. git obeys the last core.sshCommand, so name all HOSTs in one call. "
        "core.gitProxy gets no flags: there the proxy comes from the environment or the settings file. "
        "https:// URLs have a setting of git's own, http.proxy.",
    ),
    Flag(
        "interval", "", "SECONDS", SECONDS, "pause between two updates, at least 0.1", ("top",), "Output",
        common=("top",),
        default="2",
    ),
    Flag(
        "json", "", "", SWITCH, "one snapshot, as a JSON object for each process", ("top",), "Output",
        common=("top",),
        detail="Keys are only ever added.",
    ),
    Flag(
        "port-443", "", "", SWITCH, "use port 443 of GitHub, GitLab and Bitbucket, for networks that refuse 22",
        ("ssh-config", "setup"), "Output",
        brief="use port 443 of GitHub, GitLab and Bitbucket", common=("ssh-config", "setup"),
        detail="For the hosts github.com, gitlab.com and bitbucket.org, lines with Hostname and Port lead to the ssh servers that "
        "these sites have on port 443, as ssh.github.com. ssh asks once whether to trust the key of such a server.",
    ),
    Flag(
        "check", "", "", SWITCH, "tell whether the lines are there; status 0 if they are, 78 if not", ("setup",), "Output",
        brief="tell whether the lines are there (status 0, 78)", common=("setup",),
        detail="Files are read, and for a tool without a file its own command is run. The values that are there are not shown.",
    ),
    Flag(
        "json", "", "", SWITCH, "everything on stdout as a JSON object", ("setup",), "Output",
        common=("setup",),
        detail="Keys are only ever added.",
    ),
    Flag(
        "digest", "", "", SWITCH, "print a line for Digest logins instead", ("hash-password",), "Output",
        common=("hash-password",),
        detail="Whoever reads it can log in; see Users file in tunnelctl-serve(1).",
    ),
    Flag(
        "realm", "", "TEXT", TEXT, "realm of the login; the same for all digest lines of a file", ("hash-password",), "Output",
        brief="realm of the login", common=("hash-password",),
        default="tunnelctl",
    ),
    Flag(
        "user", "", "NAME", TEXT, "as if this user had logged in", ("check-policy",), "Request",
        common=("check-policy",),
    ),
    Flag(
        "client", "", "IP", TEXT, "as if the request came from this address", ("check-policy",), "Request",
        common=("check-policy",),
        default="127.0.0.1",
    ),
    Flag(
        "json", "", "", SWITCH, "the verdict on stdout as a JSON object", ("check-policy",), "Output",
        common=("check-policy",),
        detail="Keys are only ever added.",
    ),
    Flag(
        "json", "", "", SWITCH, "one JSON object per line", ("status",), "Output",
        common=("status",),
        detail="Keys are only ever added.",
    ),
    Flag(
        "json", "", "", SWITCH, "verdicts on stdout as JSON objects, one per line", ("selftest",), "Output",
        common=("selftest",),
        detail="Keys are only ever added.",
    ),
)  # fmt: skip
