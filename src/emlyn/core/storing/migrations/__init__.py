"""Schema changes of the store, run by Alembic when an older database is opened."""
