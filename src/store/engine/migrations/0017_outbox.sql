-- What is to be sent to others: each row was written in the transaction that caused it.

CREATE TABLE outbox (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    kind       TEXT NOT NULL,
    -- What has the same one is sent one after the other, by id.
    line       TEXT NOT NULL,
    -- Host and port: what is slow there delays nobody else.
    receiver   TEXT NOT NULL,
    url        TEXT NOT NULL,
    -- The same at every attempt.
    webhook_id TEXT NOT NULL,
    -- Absent once it is delivered.
    body       TEXT,
    status     TEXT NOT NULL,
    attempts   TEXT NOT NULL,
    -- Attempts since it was made, or since somebody had it tried again.
    tries      INTEGER NOT NULL,
    -- When it is tried next; absent where it is not, or where others of its line come first.
    next_at    INTEGER,
    task_id    INTEGER,
    event_id   INTEGER,
    event      TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;
CREATE INDEX outbox_by_task ON outbox (task_id, id) WHERE task_id IS NOT NULL;
CREATE INDEX outbox_by_status ON outbox (status, id);
CREATE INDEX outbox_pending ON outbox (line, id) WHERE status = 'pending';
CREATE INDEX outbox_due ON outbox (receiver, next_at, id) WHERE next_at IS NOT NULL;

-- When the first of what is to be sent to a receiver is tried, so that those at which something is due are found
-- however much waits at others; and apart from each other those whose latest attempt failed and all others.
CREATE TABLE outbox_receivers (
    receiver TEXT PRIMARY KEY,
    next_at  INTEGER NOT NULL,
    failing  INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX outbox_receivers_due ON outbox_receivers (failing, next_at);
