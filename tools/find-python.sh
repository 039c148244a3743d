#!/bin/sh
# Prints the Python that Freehold is to be installed with: $PYTHON where it is set, else the first of the
# usual names that is 3.11 or newer. Fails with the remedy where there is none.
set -u

suits() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

if [ -n "${PYTHON:-}" ]; then
    if suits "$PYTHON"; then
        command -v "$PYTHON"
        exit 0
    fi
    echo "freehold: PYTHON=$PYTHON is not a Python 3.11 or newer that runs; give the path of one, or leave PYTHON unset." >&2
    exit 1
fi

for name in python3 python3.13 python3.12 python3.11 python3.14 python; do
    if command -v "$name" >/dev/null 2>&1 && suits "$name"; then
        command -v "$name"
        exit 0
    fi
done

found=$(python3 --version 2>/dev/null) || found="no python3"
echo "freehold: Python 3.11 or newer is needed; this machine has $found on its PATH." >&2
echo "  On Debian 12 or Ubuntu 24.04 and later: sudo apt-get install python3 python3-venv" >&2
echo "  Elsewhere install Python 3.11 or newer, then: make run PYTHON=/path/to/python3.12" >&2
exit 1
