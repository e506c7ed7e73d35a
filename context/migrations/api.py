"""The tables of the HTTP API."""

from __future__ import annotations

API = """
-- Keys of the HTTP API.  The key itself is nowhere; who has it is known by its SHA-256.
CREATE TABLE api_keys (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    digest TEXT NOT NULL UNIQUE,
    requests_per_min INTEGER NOT NULL,
    tokens_per_day BIGINT NOT NULL,
    streams INTEGER NOT NULL,
    created_at {real} NOT NULL,
    revoked_at {real}
);

-- What each key used, by day (UTC, days since 1970).
CREATE TABLE api_usage (
    key_id TEXT NOT NULL,
    day INTEGER NOT NULL,
    requests BIGINT NOT NULL DEFAULT 0,
    tokens BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (key_id, day)
);

-- Bulk work that came by the API.  receiving -> waiting -> done | cancelled
CREATE TABLE jobs (
    id TEXT PRIMARY KEY,
    key_id TEXT NOT NULL,
    once TEXT,
    state TEXT NOT NULL,
    total INTEGER NOT NULL DEFAULT 0,
    created_at {real} NOT NULL,
    ended_at {real}
);
CREATE UNIQUE INDEX jobs_once ON jobs (key_id, once) WHERE once IS NOT NULL;
CREATE INDEX jobs_key ON jobs (key_id, created_at);

-- One picture each.  received -> waiting -> running -> done | failed; what is left of a cancelled job is
-- deleted.
-- The picture goes when the text is there.
CREATE TABLE job_items (
    job_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    state TEXT NOT NULL,
    ask TEXT NOT NULL,
    jpeg {bytes},
    due_at {real} NOT NULL DEFAULT 0,
    lease_until {real},
    fence INTEGER NOT NULL DEFAULT 0,
    crashes INTEGER NOT NULL DEFAULT 0,
    result TEXT,
    PRIMARY KEY (job_id, number)
);
CREATE INDEX job_items_waiting ON job_items (due_at) WHERE state = 'waiting';
CREATE INDEX job_items_running ON job_items (lease_until) WHERE state = 'running';
CREATE INDEX job_items_left ON job_items (job_id) WHERE state IN ('waiting', 'running');
"""
