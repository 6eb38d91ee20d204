"""Imported by every Python that starts with this directory on its path: see `tests.portable`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
try:
    import tests as tests
finally:
    del sys.path[0]
