"""What the Makefile's targets do, in Python's standard library alone, since nothing else is installed yet.

    python tools/install.py install|run|test|check|docs|pins|clean [ARGS...]

Each step prints one line, leaves a stamp of what it was made from, and is skipped while that has not changed.
"""
