"""Alembic's migrations of the server's database; `store.py` runs them."""
