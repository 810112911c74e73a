-- Tokens that somebody makes, beside those of sessions, which are all there were. What a token is said to have done
-- is kept under its number, so no number is given twice.
CREATE TABLE tokens_of_kinds (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    name       TEXT NOT NULL,
    hash       BLOB NOT NULL UNIQUE,
    scopes     TEXT NOT NULL,
    agent_id   TEXT,
    kind       TEXT NOT NULL DEFAULT 'named',
    expires_at INTEGER,
    created_at INTEGER NOT NULL
) STRICT;
INSERT INTO tokens_of_kinds (id, name, hash, scopes, agent_id, kind, expires_at, created_at)
    SELECT id, name, hash, scopes, agent_id, 'session', expires_at, created_at FROM tokens;
DROP TABLE tokens;
ALTER TABLE tokens_of_kinds RENAME TO tokens;
CREATE INDEX tokens_by_agent ON tokens (agent_id) WHERE agent_id IS NOT NULL;
CREATE INDEX tokens_by_expiry ON tokens (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX tokens_by_name ON tokens (name);

-- The agent that an orchestrator is told to start. It may have a token made for that one.
ALTER TABLE commands ADD COLUMN agent_id TEXT;
CREATE INDEX commands_by_agent ON commands (agent_id) WHERE agent_id IS NOT NULL;
