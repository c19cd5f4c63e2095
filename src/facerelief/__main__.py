"""`python -m facerelief`: the command line."""

import sys

from facerelief.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
