"""Alembic's entry: migrations run on the connection, and inside the transaction, that the store holds under its lock."""

from __future__ import annotations

from alembic import context

from emlyn.core.storing.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
