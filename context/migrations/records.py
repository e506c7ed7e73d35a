"""The tables of reviews, figures and erasures."""

from __future__ import annotations

RECORDS = """
-- What staff think of an answer: one row for each who looked at it.
CREATE TABLE reviews (
    turn_id BIGINT NOT NULL,
    reviewer TEXT NOT NULL,
    chat TEXT NOT NULL,
    thumb INTEGER NOT NULL,
    reasons TEXT NOT NULL DEFAULT '',
    correction TEXT NOT NULL DEFAULT '',
    note TEXT NOT NULL DEFAULT '',
    at {real} NOT NULL,
    PRIMARY KEY (turn_id, reviewer)
);
CREATE INDEX reviews_chat ON reviews (chat);
CREATE INDEX reviews_at ON reviews (at);

-- Turns of an hour, counted by who answered (context/console/figures.py).  Nobody's words, nobody's name.
CREATE TABLE figures (
    hour INTEGER NOT NULL,
    answered TEXT NOT NULL,
    template TEXT NOT NULL,
    model TEXT NOT NULL,
    turns INTEGER NOT NULL,
    messages INTEGER NOT NULL,
    photos INTEGER NOT NULL,
    held INTEGER NOT NULL,
    blocked INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    seconds TEXT NOT NULL,
    PRIMARY KEY (hour, answered, template, model)
);
-- Hours since 1970, and when each was counted.
CREATE TABLE figures_hours (
    hour INTEGER PRIMARY KEY,
    counted_at {real} NOT NULL
);
CREATE INDEX turns_opened ON turns (opened_at);
CREATE INDEX handoffs_asked ON handoffs (asked_at);

-- That something was erased, when, at whose wish and how much; not whose it was.
CREATE TABLE erasures (
    id {id},
    at {real} NOT NULL,
    wish TEXT NOT NULL,
    counts TEXT NOT NULL
);
-- When the customer had everything erased, with which the conversation began anew.
ALTER TABLE chats ADD COLUMN erased_at {real};
"""
