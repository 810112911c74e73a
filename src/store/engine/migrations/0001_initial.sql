-- The schema. Later files only add. Times are milliseconds since the Unix epoch.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE agents (
    id           TEXT PRIMARY KEY,
    name         TEXT NOT NULL,
    label        TEXT,
    tags         TEXT NOT NULL,
    capabilities TEXT NOT NULL,
    machine      TEXT,
    rig          TEXT,
    status       TEXT NOT NULL,
    ready        INTEGER NOT NULL,
    instance_id  TEXT,
    epoch        INTEGER NOT NULL,
    meta         TEXT NOT NULL,
    last_seen    INTEGER NOT NULL,
    created_at   INTEGER NOT NULL
) STRICT;

CREATE TABLE messages (
    id               INTEGER PRIMARY KEY,
    sender           TEXT NOT NULL,
    target           TEXT NOT NULL,
    type             TEXT NOT NULL,
    subject          TEXT,
    body             TEXT NOT NULL,
    channel          TEXT,
    reply_to         INTEGER,
    thread_id        INTEGER NOT NULL,
    claimable        INTEGER NOT NULL,
    claimed_by       TEXT,
    claimed_at       INTEGER,
    claim_expires_at INTEGER,
    claim_lease_ms   INTEGER NOT NULL DEFAULT 0,
    claim_generation INTEGER NOT NULL DEFAULT 0,
    completed_at     INTEGER,
    idempotency_key  TEXT,
    meta             TEXT NOT NULL,
    created_at       INTEGER NOT NULL,
    expires_at       INTEGER
) STRICT;
-- Routing is on read: an inbox is a union over an agent's targets on this index.
CREATE INDEX messages_by_target ON messages (target, id);
-- The first message of a thread is its id; only replies need an index.
CREATE INDEX messages_by_thread ON messages (thread_id, id) WHERE reply_to IS NOT NULL;
CREATE INDEX messages_by_channel ON messages (channel, id) WHERE channel IS NOT NULL;
CREATE INDEX messages_by_lease ON messages (claim_expires_at) WHERE claim_expires_at IS NOT NULL;

CREATE TABLE reads (
    message_id INTEGER NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
    agent_id   TEXT NOT NULL,
    read_at    INTEGER NOT NULL,
    PRIMARY KEY (message_id, agent_id)
) STRICT, WITHOUT ROWID;

-- Written in the transaction that caused them; seq is the commit order.
CREATE TABLE events (
    seq     INTEGER PRIMARY KEY,
    at      INTEGER NOT NULL,
    name    TEXT NOT NULL,
    target  TEXT,
    also    TEXT,
    sender  TEXT,
    expires INTEGER,
    data    TEXT NOT NULL
) STRICT;
CREATE INDEX events_by_target ON events (target, seq) WHERE target IS NOT NULL;
CREATE INDEX events_by_also ON events (also, seq) WHERE also IS NOT NULL;

CREATE TABLE activity (
    id         INTEGER PRIMARY KEY,
    client_id  TEXT NOT NULL UNIQUE,
    kind       TEXT NOT NULL,
    title      TEXT NOT NULL,
    body       TEXT,
    meta       TEXT,
    icon       TEXT,
    view       TEXT,
    message_id INTEGER,
    agent_id   TEXT,
    task_id    INTEGER,
    metadata   TEXT,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX activity_by_agent ON activity (agent_id, id) WHERE agent_id IS NOT NULL;

CREATE TABLE orchestrators (
    id             TEXT PRIMARY KEY,
    hostname       TEXT NOT NULL,
    status         TEXT NOT NULL,
    providers      TEXT NOT NULL,
    base_dir       TEXT NOT NULL,
    env_keys       TEXT NOT NULL,
    meta           TEXT NOT NULL,
    managed_agents TEXT NOT NULL,
    last_seen      INTEGER NOT NULL,
    created_at     INTEGER NOT NULL
) STRICT;

CREATE TABLE commands (
    id           INTEGER PRIMARY KEY,
    kind         TEXT NOT NULL,
    target       TEXT NOT NULL,
    request      TEXT NOT NULL,
    decision     TEXT NOT NULL,
    status       TEXT NOT NULL,
    result       TEXT,
    error        TEXT,
    message_id   INTEGER,
    requested_by TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    updated_at   INTEGER NOT NULL
) STRICT;
CREATE INDEX commands_by_target ON commands (target, id);
CREATE INDEX commands_open ON commands (status, expires_at)
    WHERE status IN ('pending', 'accepted', 'running');

-- Agents that the relay started on its own host.
CREATE TABLE sessions (
    agent_id      TEXT PRIMARY KEY,
    command_id    INTEGER NOT NULL,
    name          TEXT NOT NULL,
    provider      TEXT NOT NULL,
    cwd           TEXT NOT NULL,
    label         TEXT,
    approval_mode TEXT NOT NULL,
    request       TEXT NOT NULL,
    pid           INTEGER,
    started_at    INTEGER NOT NULL,
    ended_at      INTEGER,
    ending        TEXT
) STRICT;

CREATE TABLE tokens (
    id         INTEGER PRIMARY KEY,
    name       TEXT NOT NULL,
    hash       BLOB NOT NULL UNIQUE,
    scopes     TEXT NOT NULL,
    agent_id   TEXT,
    expires_at INTEGER,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX tokens_by_agent ON tokens (agent_id) WHERE agent_id IS NOT NULL;

-- First answers, written in the transaction of their effect and kept for a day.
CREATE TABLE idempotency (
    scope       TEXT NOT NULL,
    key         TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    answer      TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (scope, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_by_age ON idempotency (created_at);
