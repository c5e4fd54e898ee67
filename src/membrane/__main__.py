"""``python -m membrane`` is the command line."""

import sys

from membrane.cli import main

if __name__ == "__main__":
    sys.exit(main())
