"""The tables of what staff do with chats."""

from __future__ import annotations

STAFF_WORK = """
-- What staff put into a chat's lane stands among its messages, as kind 'staff'; who did it.
ALTER TABLE messages ADD COLUMN staff TEXT;
-- The earlier turn whose question this one answers.
ALTER TABLE turns ADD COLUMN answers BIGINT;
ALTER TABLE handoffs ADD COLUMN closed_by TEXT;
CREATE INDEX handoffs_chat ON handoffs (chat, id);

-- Replies that wait for a person's decision: open -> released | refused.
CREATE TABLE held (
    turn_id BIGINT PRIMARY KEY,
    chat TEXT NOT NULL,
    state TEXT NOT NULL,
    at {real} NOT NULL,
    decided_by TEXT,
    decided_at {real},
    why TEXT NOT NULL DEFAULT '',
    words TEXT
);
CREATE INDEX held_open ON held (turn_id) WHERE state = 'open';
CREATE INDEX held_chat ON held (chat);

-- What customers say of answers: one row a turn and question.
CREATE TABLE feedback (
    id {id},
    chat TEXT NOT NULL,
    turn_id BIGINT NOT NULL,
    question TEXT NOT NULL,
    vote TEXT NOT NULL,
    reason TEXT NOT NULL DEFAULT '',
    at {real} NOT NULL,
    UNIQUE (turn_id, question)
);
CREATE INDEX feedback_chat ON feedback (chat, id);

-- A handoff as it is shown in the staff's group: in which topic, and how far.
CREATE TABLE cases (
    chat TEXT PRIMARY KEY,
    place TEXT NOT NULL,
    thread BIGINT,
    handoff_id BIGINT NOT NULL,
    shown BIGINT NOT NULL DEFAULT 0,
    holder TEXT,
    closed INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX cases_thread ON cases (place, thread);

-- Answers after which "did it work?" was asked, or will not be.
CREATE TABLE follow_ups (
    turn_id BIGINT PRIMARY KEY,
    chat TEXT NOT NULL,
    at {real} NOT NULL
);
CREATE INDEX follow_ups_chat ON follow_ups (chat);
"""

STAFF_WORK_SQLITE = """
CREATE TRIGGER held_added AFTER INSERT ON held
    BEGIN INSERT INTO changes (chat) VALUES (NEW.chat); END;
CREATE TRIGGER held_changed AFTER UPDATE ON held
    BEGIN INSERT INTO changes (chat) VALUES (NEW.chat); END;
CREATE TRIGGER feedback_added AFTER INSERT ON feedback
    BEGIN INSERT INTO changes (chat) VALUES (NEW.chat); END;
CREATE TRIGGER feedback_changed AFTER UPDATE ON feedback
    BEGIN INSERT INTO changes (chat) VALUES (NEW.chat); END;
"""

STAFF_WORK_POSTGRES = """
CREATE TRIGGER held_noted AFTER INSERT OR UPDATE ON held FOR EACH ROW EXECUTE FUNCTION note_change();
CREATE TRIGGER feedback_noted AFTER INSERT OR UPDATE ON feedback FOR EACH ROW EXECUTE FUNCTION note_change();
"""

GONE_TOPICS = """
-- Topics of the staff's group whose customers were erased: until they are deleted there too.
CREATE TABLE gone_topics (
    id {id},
    place TEXT NOT NULL,
    thread BIGINT NOT NULL
);
"""

# Who waits for a person is listed by how long.
LONGEST_WAIT = "CREATE INDEX listing_longest_wait ON listing (waiting_since, chat) WHERE waiting = 1"
