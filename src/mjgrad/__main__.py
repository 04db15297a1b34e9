"""`python -m mjgrad` does what the `mjgrad` command does."""

import sys

from mjgrad.cli import main

if __name__ == "__main__":
  sys.exit(main())
