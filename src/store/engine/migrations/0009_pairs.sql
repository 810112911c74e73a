-- Pairs. Who is in a pair that is pending or active stands in a table of its own with the agent as its key, so
-- that nobody can be in two.

CREATE TABLE pairs (
    id               INTEGER PRIMARY KEY,
    requester_id     TEXT NOT NULL,
    target_id        TEXT NOT NULL,
    status           TEXT NOT NULL,
    objective        TEXT,
    thread_id        INTEGER,
    created_at       INTEGER NOT NULL,
    accepted_at      INTEGER,
    last_activity_at INTEGER NOT NULL,
    expires_at       INTEGER,
    ended_at         INTEGER,
    ended_by         TEXT
) STRICT;
CREATE INDEX pairs_by_requester ON pairs (requester_id, id);
CREATE INDEX pairs_by_target ON pairs (target_id, id);
CREATE INDEX pairs_by_status ON pairs (status, id);
CREATE INDEX pairs_by_expiry ON pairs (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX pairs_over ON pairs (ended_at) WHERE ended_at IS NOT NULL;

CREATE TABLE pair_members (
    agent_id TEXT PRIMARY KEY,
    pair_id  INTEGER NOT NULL REFERENCES pairs (id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX pair_members_by_pair ON pair_members (pair_id);
