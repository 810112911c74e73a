-- Tasks, what happened to each, and which wait for which.

CREATE TABLE tasks (
    id               INTEGER PRIMARY KEY,
    source           TEXT NOT NULL,
    kind             TEXT NOT NULL,
    title            TEXT NOT NULL,
    body             TEXT,
    severity         TEXT NOT NULL,
    status           TEXT NOT NULL,
    target           TEXT,
    asker            TEXT,
    dedupe_key       TEXT,
    occurrences      INTEGER NOT NULL,
    claimed_by       TEXT,
    claimed_at       INTEGER,
    claim_expires_at INTEGER,
    claim_generation INTEGER NOT NULL,
    callback_url     TEXT,
    options          TEXT NOT NULL,
    result           TEXT,
    metadata         TEXT NOT NULL,
    depends_on       TEXT NOT NULL,
    blocked_by       TEXT NOT NULL,
    message_id       INTEGER,
    created_at       INTEGER NOT NULL,
    updated_at       INTEGER NOT NULL,
    finished_at      INTEGER,
    claim_lease_ms   INTEGER NOT NULL,
    event_count      INTEGER NOT NULL,
    -- It has ended, and not all that wait for it know.
    settling         INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX tasks_by_status ON tasks (status, id);
CREATE INDEX tasks_by_source ON tasks (source, id);
CREATE INDEX tasks_by_severity ON tasks (severity, id);
CREATE INDEX tasks_by_target ON tasks (target, id);
CREATE INDEX tasks_by_asker ON tasks (asker, id) WHERE asker IS NOT NULL;
CREATE INDEX tasks_by_holder ON tasks (claimed_by, id) WHERE claimed_by IS NOT NULL;
CREATE INDEX tasks_by_message ON tasks (message_id) WHERE message_id IS NOT NULL;
CREATE INDEX tasks_by_lease ON tasks (claim_expires_at) WHERE claim_expires_at IS NOT NULL;
CREATE INDEX tasks_by_end ON tasks (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX tasks_settling ON tasks (settling, id) WHERE settling = 1;
-- One at a time that is not finished.
CREATE UNIQUE INDEX tasks_by_key ON tasks (source, dedupe_key) WHERE dedupe_key IS NOT NULL AND finished_at IS NULL;

CREATE TABLE task_events (
    id         INTEGER PRIMARY KEY,
    task_id    INTEGER NOT NULL,
    type       TEXT NOT NULL,
    agent_id   TEXT,
    body       TEXT,
    metadata   TEXT,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX task_events_by_task ON task_events (task_id, id);

-- Rows stay until the one that waits knows how the other ended.
CREATE TABLE task_waits (
    depends_on INTEGER NOT NULL,
    task_id    INTEGER NOT NULL,
    PRIMARY KEY (depends_on, task_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX task_waits_by_task ON task_waits (task_id);
