"""The tables of gray releases."""

from __future__ import annotations

RELEASES = """
-- A candidate beside what is in force.  running -> promoted | withdrawn | stopped (by itself, for a reason)
CREATE TABLE releases (
    id {id},
    name TEXT NOT NULL,
    candidate TEXT NOT NULL,
    share {real} NOT NULL,
    slow_s {real} NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL DEFAULT '',
    looks INTEGER NOT NULL DEFAULT 0,
    seen_to BIGINT NOT NULL DEFAULT 0,
    started_at {real} NOT NULL,
    ended_at {real}
);
CREATE UNIQUE INDEX releases_current ON releases ((1)) WHERE state IN ('running', 'promoted');

-- What became of each chat while a release ran: how many turns, and how many went badly in which way.
CREATE TABLE release_chats (
    release_id BIGINT NOT NULL,
    chat TEXT NOT NULL,
    arm TEXT NOT NULL,
    turns INTEGER NOT NULL DEFAULT 0,
    held INTEGER NOT NULL DEFAULT 0,
    fallback INTEGER NOT NULL DEFAULT 0,
    handoff INTEGER NOT NULL DEFAULT 0,
    slow INTEGER NOT NULL DEFAULT 0,
    disliked INTEGER NOT NULL DEFAULT 0,
    seconds {real} NOT NULL DEFAULT 0,
    PRIMARY KEY (release_id, chat, arm)
)
"""
