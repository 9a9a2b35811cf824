"""The three tables of the store. A new noun is a new `kind`, never a new table, so migrations stay rare."""

from __future__ import annotations

import sqlalchemy as sa

HEAD = "0001"
"""The revision that `metadata` describes: the newest file in `migrations/versions`."""

metadata = sa.MetaData()

record = sa.Table(
    "record",
    metadata,
    sa.Column("kind", sa.String(64), primary_key=True),
    sa.Column("key", sa.String(512), primary_key=True),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("created", sa.String(32), nullable=False),
    sa.Column("body", sa.Text, nullable=False),
)

link = sa.Table(
    "link",
    metadata,
    sa.Column("source_kind", sa.String(64), primary_key=True),
    sa.Column("source_key", sa.String(512), primary_key=True),
    sa.Column("relation", sa.String(64), primary_key=True),
    sa.Column("target_kind", sa.String(64), primary_key=True),
    sa.Column("target_key", sa.String(512), primary_key=True),
    sa.Index("link_target", "target_kind", "target_key"),
)

event = sa.Table(
    "event",
    metadata,
    sa.Column("stream", sa.String(512), primary_key=True),
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("kind", sa.String(64), nullable=False),
    sa.Column("created", sa.String(32), nullable=False),
    sa.Column("body", sa.Text, nullable=False),
)

stamp = sa.Table("alembic_version", sa.MetaData(), sa.Column("version_num", sa.String(32), primary_key=True))
"""Alembic's own table, written directly when a new database is made in one go."""
