#!python
"""The program, as `python -m tunnelctl` and as the script `tunnelctl`, whose first line an installer completes."""

import sys

from tunnelctl.cli.main import main

sys.exit(main())
