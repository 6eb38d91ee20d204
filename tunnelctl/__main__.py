#!python
"""The program: `tunnelctl`, for which an installer puts the interpreter into the first line, and `python -m tunnelctl`."""

import sys

from tunnelctl.cli.main import main

sys.exit(main())
