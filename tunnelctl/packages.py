"""Commands that add a missing package to the running Python: they depend on the tool that made its environment."""

import shlex
import shutil
import sys
import sysconfig
from pathlib import Path


def install_command(package: str) -> str:
    """Returns a shell command that installs `package` where this tunnelctl finds it, whatever has installed the latter."""
    wanted, python = shlex.quote(package), shlex.quote(sys.executable or "python3")
    environment = Path(sys.prefix)
    if (environment / "pipx_metadata.json").exists():
        return f"pipx inject {shlex.quote(environment.name)} {wanted}"
    if _is_externally_managed():
        # Such a pip installs nothing without this flag (PEP 668). With --user, the system's own packages stay as they are.
        pip = "sudo apt-get install python3-pip && " if not _has_pip() and shutil.which("apt-get") else ""
        return f"{pip}{python} -m pip install --user --break-system-packages {wanted}"
    if not _has_pip():
        if _made_by_uv(environment):
            return f"uv pip install --python {python} {wanted}"
        return f"{python} -m ensurepip && {python} -m pip install {wanted}"
    return f"{python} -m pip install {wanted}"


def _has_pip() -> bool:
    from importlib.util import find_spec

    return find_spec("pip") is not None


def _is_externally_managed() -> bool:
    """Whether this is Python as a distribution has it, outside every environment: the .pyz runs in it."""
    return sys.prefix == sys.base_prefix and Path(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED").exists()


def _made_by_uv(environment: Path) -> bool:
    """Whether uv made an environment: it leaves pip out, and writes its version to pyvenv.cfg."""
    try:
        lines = (environment / "pyvenv.cfg").read_text("utf-8", "replace").splitlines()
    except OSError:
        return False
    return any(line.partition("=")[0].strip() == "uv" for line in lines)
