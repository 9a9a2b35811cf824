"""The three tables: records, links, events."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "record",
        sa.Column("kind", sa.String(64), primary_key=True),
        sa.Column("key", sa.String(512), primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("created", sa.String(32), nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_table(
        "link",
        sa.Column("source_kind", sa.String(64), primary_key=True),
        sa.Column("source_key", sa.String(512), primary_key=True),
        sa.Column("relation", sa.String(64), primary_key=True),
        sa.Column("target_kind", sa.String(64), primary_key=True),
        sa.Column("target_key", sa.String(512), primary_key=True),
    )
    op.create_index("link_target", "link", ["target_kind", "target_key"])
    op.create_table(
        "event",
        sa.Column("stream", sa.String(512), primary_key=True),
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("created", sa.String(32), nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
