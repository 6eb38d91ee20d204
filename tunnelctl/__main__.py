"""`python -m tunnelctl`."""

import sys

from tunnelctl.cli.main import main

sys.exit(main())
