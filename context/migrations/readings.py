"""The table of what was found on photos."""

from __future__ import annotations

READINGS = """
-- What stands on a photo and what it looks like (context/readings.py); read_at is NULL until that is known.
CREATE TABLE readings (
    id {id},
    photo TEXT NOT NULL UNIQUE,
    tries INTEGER NOT NULL DEFAULT 0,
    read_at {real},
    lines TEXT NOT NULL DEFAULT '',
    facts TEXT NOT NULL DEFAULT '',
    look TEXT NOT NULL DEFAULT ''
);
CREATE INDEX readings_due ON readings (id) WHERE read_at IS NULL;
INSERT INTO readings (photo)
    SELECT photo FROM messages WHERE photo IS NOT NULL AND direction = 'in' GROUP BY photo ORDER BY MIN(id);
"""
