"""Messages about files that tunnelctl reads, and about the command of `run`: exit statuses 78, 126 and 127."""

from __future__ import annotations

from tunnelctl.cli.spec.messages.model import BACKSLASH, NEAR, When, declare
from tunnelctl.errors import CannotRun, SettingsError

_PEM = "it must be in PEM format"
_TARGETS = 'for example targets = ["*.example.com:443"]'

FILES = (
    declare(SettingsError, "unreadable", ("{kind} file {path}: {reason}", "{flag} {file}: {reason}")),
    declare(SettingsError, "too-large", ("{file}: larger than {n} KiB", "{file}: longer than {n} MiB")),
    declare(SettingsError, "setup-file", "configuration file {path}: {cause}"),
    declare(SettingsError, "setup-program", "program {program}: {reason}"),
    declare(
        SettingsError,
        "setup-root",
        "program {program}: only root may read its settings",
        "sudo tunnelctl setup snap --check -x URL",
    ),
    declare(SettingsError, "nul-in-name", "{file}: its name contains a NUL"),
    declare(SettingsError, "encoding", ("{file}: UTF-16; it must be UTF-8", "{file}: not UTF-8")),
    declare(SettingsError, "first-line-too-long", "{file}: its first line is longer than {n} bytes"),
    declare(SettingsError, "first-line-empty", "{file}: its first line is empty"),
    declare(SettingsError, "login-file-format", "login file {path}: the first line is not USER:PASSWORD"),
    declare(SettingsError, "netrc-malformed", "netrc file {path}, line {line}: malformed"),
    declare(SettingsError, "access-log", "access log {path}: {reason}"),
    declare(SettingsError, "command-late", "password command: still running after {n} s"),
    declare(SettingsError, "command-output", "password command: printed more than {n} bytes"),
    declare(
        SettingsError,
        "command-failed",
        ("password command: exited with status {status}", "password command: killed by signal {n}"),
    ),
    declare(
        SettingsError,
        "typed-password",
        "--ask-password: the password was typed at the start, and is not asked for again",
        "start it again",
    ),
    declare(SettingsError, "command-not-run", "password command: {reason}"),
    declare(
        SettingsError,
        "no-settings-file",
        (
            "{origin} {profile}: settings file {path} does not exist",
            "{origin} {profile}: there is no home directory to look for settings in",
        ),
        "see tunnelctl-config(5) for the format",
    ),
    declare(
        SettingsError,
        "no-such-profile",
        "{origin} {profile}: settings file {path} has no such profile",
        "its profiles are {known}",
        "it has no profiles; [profiles.NAME] begins one",
    ),
    declare(
        SettingsError,
        "not-toml",
        ("settings file {path}, line {line}: {cause}", "{file}, line {line}: not TOML: {cause}"),
        BACKSLASH,
    ),
    declare(
        SettingsError, "not-a-profile", "{place}: `{name}` is not a profile", "a profile is a table of its own, [profiles.NAME]"
    ),
    declare(
        SettingsError,
        "key-outside-table",
        "{place}: `{name}` is outside any table",
        "keys belong below [defaults] or [profiles.NAME]",
    ),
    declare(
        SettingsError,
        "unknown-table",
        ("{place}: unknown table `{name}`", "{place}: `{name}` is not a table"),
        "the tables are [defaults] and [profiles.NAME]",
    ),
    declare(
        SettingsError,
        "unknown-key",
        ("{place}: unknown key `{key}`", "{place}, key {key}: unknown key"),
        NEAR,
        "the keys are {known}",
        "keys have the names of the long flags, such as proxy or timeout",
    ),
    declare(SettingsError, "contradiction", "{place}: `{one}` and `{other}` cannot be used together"),
    declare(SettingsError, "value-type", "{place}: `{name}` takes {expected}"),
    declare(SettingsError, "value", ("{place}: `{name}`: {cause}", "{place}, key {key}: {cause}")),
    declare(SettingsError, "no-rule", "policy file {path}: it contains no rules"),
    declare(SettingsError, "not-rules", "{place}, key {key}: not a list of rules: each begins with [[{kind}]]"),
    declare(
        SettingsError,
        "targets-missing",
        "{place}, key {key}: missing: a rule must name its targets",
        _TARGETS,
    ),
    declare(SettingsError, "rule-name", "{place}, key {key}: not a string of 1 to {n} printable characters"),
    declare(SettingsError, "rule-name-twice", "{place}, key {key}: another rule has this name"),
    declare(SettingsError, "only-value", '{place}, key {key}: the only value is "{word}"'),
    declare(SettingsError, "not-texts", '{place}, key {key}: not a list of strings, such as ["this"]'),
    declare(SettingsError, "control-character", "{place}, key {key}: it contains a control character", BACKSLASH.text),
    declare(
        SettingsError,
        "list-empty",
        "{place}, key {key}: the list is empty",
        When("optional", "leave the key out only if the rule is for everyone"),
        _TARGETS,
    ),
    declare(
        SettingsError,
        "pipe-empty",
        "{file}: the pipe is empty, and no program writes to it",
        "give a file: a pipe can be read only once",
    ),
    declare(SettingsError, "user-twice", "users file {path}, line {line}: an earlier line has this user already"),
    declare(
        SettingsError,
        "realm-differs",
        "users file {path}, line {line}: its realm differs from that of earlier lines: a proxy has only one",
    ),
    declare(SettingsError, "not-hash-password", "users file {path}, line {line}: not a line that `tunnelctl hash-password` prints"),
    declare(
        SettingsError,
        "user-damaged",
        (
            "users file {path}, line {line}: invalid realm or hash",
            "users file {path}, line {line}: invalid number or base64",
        ),
    ),
    declare(SettingsError, "user-cost", "users file {path}, line {line}: its scrypt cost is out of range"),
    declare(SettingsError, "no-certificate", "{flag} {file}: it contains no certificate", _PEM),
    declare(
        SettingsError,
        "key-encrypted",
        "{flag} {file}: the key is encrypted, and tunnelctl does not ask for its passphrase",
        "`openssl pkey -in FILE -out NEWFILE` writes it unencrypted; let only its owner read NEWFILE",
    ),
    declare(
        SettingsError,
        "key-mismatch",
        (
            "{flag} {file}: the key in it does not match its certificate",
            "{flag} {file}: the key does not match the certificate in {other}",
        ),
    ),
    declare(SettingsError, "no-private-key", "{flag} {file}: it contains no private key", "{key_flag} FILE names its key", _PEM),
    declare(SettingsError, "pipe", "{flag} {file}: a pipe, but it must be read more than once", "give a regular file"),
    declare(
        SettingsError,
        "no-javascript",
        "--pac: there is no JavaScript engine: {cause}",
        "PAC files need the package mini-racer: {install}",
    ),
    declare(SettingsError, "pac-failed", ("PAC file {source}: {cause}", "PAC file {source}: names no proxy: {text}")),
    declare(
        SettingsError,
        "pac-source",
        "PAC file {source}: it must be a path, or an http, https or file URL",
        "file:///PATH has three slashes",
    ),
    declare(
        SettingsError,
        "pac-unusable",
        (
            "PAC file {source}: its URL is not valid",
            "PAC file {source}: cannot be fetched: {cause}",
            "PAC file {source}: its server responds with {status}",
            "PAC file {source}: fetching it takes more than {n} s",
            "PAC file {source}: larger than {n} KiB",
        ),
    ),
    declare(CannotRun, "not-run", "cannot run {command}: {reason}"),
    declare(CannotRun, "nul-in-word", "cannot run {command}: an argument contains a NUL"),
)
