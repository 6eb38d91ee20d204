"""Commands that add a missing package to the running Python: they depend on the tool that made its environment."""

import shlex
import sys
from pathlib import Path


def install_command(package: str) -> str:
    """Returns a shell command that installs `package` beside tunnelctl, whether pip, pipx or uv installed the latter."""
    wanted, python = shlex.quote(package), shlex.quote(sys.executable or "python3")
    environment = Path(sys.prefix)
    if (environment / "pipx_metadata.json").exists():
        return f"pipx inject {shlex.quote(environment.name)} {wanted}"
    if not _has_pip():
        if _made_by_uv(environment):
            return f"uv pip install --python {python} {wanted}"
        return f"{python} -m ensurepip && {python} -m pip install {wanted}"
    return f"{python} -m pip install {wanted}"


def _has_pip() -> bool:
    from importlib.util import find_spec

    return find_spec("pip") is not None


def _made_by_uv(environment: Path) -> bool:
    """Whether uv made an environment: it leaves pip out, and writes its version to pyvenv.cfg."""
    try:
        lines = (environment / "pyvenv.cfg").read_text("utf-8", "replace").splitlines()
    except OSError:
        return False
    return any(line.partition("=")[0].strip() == "uv" for line in lines)
