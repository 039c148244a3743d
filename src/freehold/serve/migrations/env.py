"""Alembic's environment: it migrates over the connection that `store.py` hands it, inside that one transaction."""

from __future__ import annotations

from alembic import context

from freehold.serve.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
)
context.run_migrations()
