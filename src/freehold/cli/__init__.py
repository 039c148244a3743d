"""The command line: `main.py`, and one thin file per verb, imported only when that verb is called.

freehold run|serve|chat|pull|models|keys --help
"""
