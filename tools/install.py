"""Installs, builds, tests and starts Freehold from a clone: `python tools/install.py VERB`. The Makefile calls it."""

from __future__ import annotations

import sys

from installer.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
