"""User and password for the nearest proxy: from its URL, the flags, files, the environment. None of it is ever printed."""

import os
import stat
from collections.abc import Mapping

from tunnelctl.client.options import ConnectOptions, ForwardOptions
from tunnelctl.errors import SettingsError, UsageProblem, reason
from tunnelctl.proto.basic import encode_basic
from tunnelctl.proto.proxy_url import ProxyURL
from tunnelctl.trace import Trace

MAX_FILE = 4096  # bytes; a password file is one line, and a wrong path may be a disk
PASSWORD_VARIABLE = "TUNNELCTL_PROXY_PASSWORD"


def authorization(
    proxy: ProxyURL, nearest: bool, options: ConnectOptions | ForwardOptions, environ: Mapping[str, str], trace: Trace
) -> str | None:
    """The value of Proxy-Authorization for one proxy of the chain, or None.

    Flags, files and variables are for the nearest proxy only: each hop sees what is meant for it. The others have URLs.
    """
    if proxy.user is not None:
        password = proxy.password
        if password is None and nearest:
            password = _password(options, environ, trace)
        if password is None:
            raise _no_password(f"proxy {proxy}")
        return encode_basic(proxy.user, password)
    if not nearest:
        return None
    if options.proxy_auth_file is not None:
        user, colon, password = _first_line(options.proxy_auth_file, "--proxy-auth-file", trace).partition(":")
        if not colon:
            raise SettingsError(f"--proxy-auth-file {options.proxy_auth_file}", "the first line is not USER:PASSWORD")
        return encode_basic(user, password)
    return _from_flags(options, environ, trace)


def _from_flags(options: ConnectOptions | ForwardOptions, environ: Mapping[str, str], trace: Trace) -> str | None:
    if options.proxy_user is None:
        if options.proxy_password_file is not None:
            raise UsageProblem("--proxy-password-file", "whose password it is, is missing", hint="add --proxy-user NAME")
        return None
    password = _password(options, environ, trace)
    if password is None:
        raise _no_password(f"--proxy-user {options.proxy_user}")
    return encode_basic(options.proxy_user, password)


def _no_password(what: str) -> UsageProblem:
    return UsageProblem(what, "there is no password for this user", f"give --proxy-password-file FILE, or set {PASSWORD_VARIABLE}")


def _password(options: ConnectOptions | ForwardOptions, environ: Mapping[str, str], trace: Trace) -> str | None:
    if options.proxy_password_file is not None:
        return _first_line(options.proxy_password_file, "--proxy-password-file", trace)
    return environ.get(PASSWORD_VARIABLE)


def _first_line(path: str, flag: str, trace: Trace) -> str:
    """The whole first line, blanks included: passwords have them."""
    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            line = file.readline(MAX_FILE + 1)
    except OSError as error:
        raise SettingsError(f"{flag} {path}", reason(error)) from error
    if len(line) > MAX_FILE:
        raise SettingsError(f"{flag} {path}", f"its first line is longer than {MAX_FILE} bytes")
    if not line.strip(b"\r\n"):  # whatever was to fill it has failed; who means an empty password has the URL for it
        raise SettingsError(f"{flag} {path}", "its first line is empty")
    if stat.S_ISREG(mode) and mode & (stat.S_IRWXG | stat.S_IRWXO):
        trace("warning", text=f"{flag} {path}: others can read it; chmod 600 keeps it to yourself")
    try:
        return line.decode().rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise SettingsError(f"{flag} {path}", "its first line is not UTF-8") from error
