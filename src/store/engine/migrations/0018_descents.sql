-- Agents that agents started: policies are told how far from a person they are.
CREATE TABLE descents (
    agent_id   TEXT PRIMARY KEY,
    started_by TEXT NOT NULL,
    depth      INTEGER NOT NULL,
    at         INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
-- Those that never registered are found by their age.
CREATE INDEX descents_by_age ON descents (at);

-- How often somebody started agents of late.
CREATE INDEX commands_of_spawners ON commands (requested_by, created_at) WHERE kind = 'spawn';
