"""Schema steps of the ledger, later than its tables: doubts by kind, chats with which workers died."""

from __future__ import annotations

# Of `unsure`: how often the connection broke, which leaves more doubt than a server that says it failed.
BROKEN = "ALTER TABLE messages ADD COLUMN broken INTEGER NOT NULL DEFAULT 0"

# SUSPECT in context/claims.py: there is hardly ever a row, so that looking for one costs next to nothing.
SUSPECTS = "CREATE INDEX lanes_suspects ON lanes (crashes) WHERE crashes >= 3"
