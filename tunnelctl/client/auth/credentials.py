"""Credentials for a proxy: from its URL, the flags, files, a command, the terminal, netrc. None of them is ever printed.

As a rule, a prompt or a command waits until a proxy requires a login: most proxies require none.
"""

from __future__ import annotations

import os
import stat

from tunnelctl import events
from tunnelctl.engine.kernel import BusyResourceError
from tunnelctl.engine.limiter import Semaphore
from tunnelctl.engine.wakeup import to_thread
from tunnelctl.errors import SettingsError, Unreachable, UsageProblem, reason
from tunnelctl.events import Trace
from tunnelctl.files.text import decode, read_file, read_first_line
from tunnelctl.namedtuple import NamedTuple
from tunnelctl.proto.address import without_scope
from tunnelctl.proto.proxy_url import ProxyURL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from tunnelctl.options import ReachOptions

MAX_FILE = 4096  # bytes; a password file is one line, and a wrong path may be a disk
_PASSWORD_SOURCES = ("proxy_password_file", "password_command", "ask_password")  # fields of the options
MAX_NETRC = 1 << 20  # bytes
PASSWORD_VARIABLE = "TUNNELCTL_PROXY_PASSWORD"


class Secret(NamedTuple):
    """The credentials for one proxy. A token has no user."""

    user: str | None
    password: str

    def __repr__(self) -> str:
        return "Secret(***)"


class CredentialSource:
    """The credentials for one proxy of the chain, looked up on first use and then remembered.

    Flags, files, variables and the prompt are for the nearest proxy only: each hop receives only what is meant for it. The others
    have their URLs, and netrc, which names its hosts.
    """

    def __init__(self, proxy: ProxyURL, nearest: bool, options: ReachOptions, environ: Mapping[str, str], trace: Trace) -> None:
        """Raises UsageProblem for a flag that gives a password without a user."""
        self._proxy, self._nearest, self._options, self._environ, self._trace = proxy, nearest, options, environ, trace
        self._asking = Semaphore(1)  # of many tunnels that begin at once, only one looks
        self._known = False
        self._secret: Secret | None = None
        self._user = proxy.user
        if nearest and proxy.user is None:
            self._user = options.proxy_user
            self._require_user()

    def __repr__(self) -> str:
        return f"CredentialSource({self._proxy})"

    def prepare(self) -> None:
        """Looks in all places that need no waiting, so that their errors are reported before the proxy is contacted.

        Raises SettingsError or UsageProblem.
        """
        if not self._waits:
            self._secret, self._known = self._look(), True

    @property
    def _waits(self) -> bool:
        """Whether the password comes from a person or a command."""
        options = self._options
        challenged = options.password_command is not None or options.ask_password
        return self._nearest and self._proxy.password is None and options.proxy_password_file is None and challenged

    async def find(self) -> Secret | None:
        """The credentials; None if there are none. May wait for a person, who cannot be hurried, or for a command.

        Raises SettingsError or UsageProblem, or Unreachable if no thread is left to look with. A call after an error looks again.
        """
        async with self._asking:
            if not self._known:
                self._secret = Secret(self._user, await self._wait()) if self._waits else await self._look_in_a_thread()
                self._known = True
        return self._secret

    async def _look_in_a_thread(self) -> Secret | None:
        """Looks in a thread: a home directory may be on a file system that hangs, and other tunnels go on meanwhile."""
        try:
            return await to_thread(self._look)
        except BusyResourceError as error:
            raise Unreachable(f"login at proxy {self._proxy}", str(error), "login-unavailable") from error

    def _look(self) -> Secret | None:
        if self._user is not None and self._proxy.password is not None:
            return Secret(self._user, self._proxy.password)
        if self._has_password():
            return Secret(self._user, self._password())
        path = self._options.proxy_auth_file
        if self._nearest and self._proxy.user is None and path is not None:
            return _from_auth_file(path, self._trace)
        if self._proxy.scheme == "socks4a":  # which has no passwords
            return Secret(self._user, "") if self._user is not None else None
        secret = self._from_netrc()
        if secret is None and self._user is not None:
            # In curl, the password follows a colon here: a user who types that from habit must not find it in a log.
            name, colon, _ = self._user.partition(":")
            shown = f"{name}:***" if colon else name
            option, what = ("proxy_user", shown) if self._proxy.user is None else ("", f"proxy {self._proxy}")
            facts = {"nearest": self._nearest}
            raise UsageProblem(what, "there is no password for this user", "password-missing", option=option, facts=facts)
        return secret

    def _require_user(self) -> None:
        if self._user is None and self._options.auth != "bearer":
            for option in _PASSWORD_SOURCES:
                if getattr(self._options, option):
                    raise UsageProblem("", "no user name is given", "user-missing", option=option)

    def _has_password(self) -> bool:
        """Whether flags or environment give the password, or its source. The variable alone is no reason to log in."""
        if not self._nearest:
            return False
        if any(getattr(self._options, option) for option in _PASSWORD_SOURCES):
            return True
        return PASSWORD_VARIABLE in self._environ and (self._user is not None or self._options.auth == "bearer")

    def _password(self) -> str:
        if self._options.proxy_password_file is not None:
            return _read_file(self._options.proxy_password_file, "password file", self._trace)
        return self._environ[PASSWORD_VARIABLE]

    async def _wait(self) -> str:
        options = self._options
        if options.password_command is not None:
            from tunnelctl.client.auth.password_command import first_line

            return _secret_text(await first_line(options.password_command, MAX_FILE + 1), "password command")
        from tunnelctl.stream.tty_prompt import ask

        whom = f"{self._user} at " if self._user is not None else ""
        who = f"password for proxy {self._proxy.address}"
        try:
            password = await ask(who, f"password for {whom}proxy {self._proxy.address}: ")
        except UsageProblem as error:
            raise error.within(who, proxy=self._proxy.address) from error
        if not password:
            raise UsageProblem(who, "the password is empty", "password-empty")
        return password

    def _from_netrc(self) -> Secret | None:
        """Uses only an entry that names the host: `default` would give its password to any proxy."""
        home = self._environ.get("HOME")
        path = self._environ.get("NETRC") or (home and os.path.join(home, ".netrc"))
        if not path:
            return None
        login, password = _netrc_login(path, without_scope(self._proxy.address.host), self._user, self._trace)
        return Secret(self._user or login or None, password) if password else None


def _netrc_login(path: str, host: str, user: str | None, trace: Trace) -> tuple[str, str]:
    """Login and password for a host, and for `user` if there is one; "" if there is no entry."""
    from tunnelctl.proto.auth.netrc import MalformedNetrc, find_entry

    what = f"netrc file {path}"
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return "", ""
    except OSError as error:
        raise SettingsError(what, reason(error), "unreadable") from error
    octets, mode = read_file(path, what, MAX_NETRC)
    try:
        _, login, password = find_entry(decode(octets, what), host, user)
    except MalformedNetrc as error:
        raise SettingsError(f"{what}, line {error.line}", "malformed", "netrc-malformed") from None
    if password:
        _warn_if_shared(what, mode, trace)
    return login, password


def _from_auth_file(path: str, trace: Trace) -> Secret:
    user, colon, password = _read_file(path, "login file", trace).partition(":")
    if not colon:
        raise SettingsError(f"login file {path}", "the first line is not USER:PASSWORD", "login-file-format")
    return Secret(user, password)


def _read_file(path: str, kind: str, trace: Trace) -> str:
    """Returns the whole first line, blanks included: passwords may have them."""
    what = f"{kind} {path}"
    line, mode = read_first_line(path, what, MAX_FILE)
    text = _secret_text(line, what)
    _warn_if_shared(what, mode, trace)
    return text


def _secret_text(line: bytes, what: str) -> str:
    if len(line) > MAX_FILE:  # from a command; a file is read no further
        raise SettingsError(what, f"its first line is longer than {MAX_FILE} bytes", "first-line-too-long")
    text = decode(line, what).rstrip("\r\n")
    if not text:  # whatever should have filled it has failed; an empty password can be given in the URL
        raise SettingsError(what, "its first line is empty", "first-line-empty")
    return text


def _warn_if_shared(what: str, mode: int, trace: Trace) -> None:
    if stat.S_ISREG(mode) and mode & (stat.S_IRWXG | stat.S_IRWXO):
        trace(events.Warning(f"{what}: others can read it; run chmod 600 to keep it private"))
