"""The portable run: the suite in a Python from which everything that macOS and the BSDs lack has been taken away.

With TUNNELCTL_PORTABLE=1 (macOS) or TUNNELCTL_PORTABLE=freebsd, importing `tests` takes it away from the process of pytest, and
puts this directory on PYTHONPATH: then `sitecustomize` does the same in every Python that a test starts. Tests that are about Linux
alone have the mark `linux`.
"""

import os

PORTABLE = bool(os.environ.get("TUNNELCTL_PORTABLE"))
PLATFORM = {"freebsd": "freebsd14"}.get(os.environ.get("TUNNELCTL_PORTABLE", ""), "darwin")
