"""`python -m egogrid_export`: hands over to the command line."""

import sys

from egogrid_export.cli import main

if __name__ == "__main__":
    sys.exit(main())
