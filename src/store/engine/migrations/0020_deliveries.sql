-- How far messages have come into sessions, which sessions there are, and what agents let be shown to them.

-- Agents whose session runs now: on the relay's own host, or on that of the orchestrator whose agent is named. `greets`
-- is how often it is still tried to tell the agent what it has, now that its session begins.
CREATE TABLE hosted (
    agent_id  TEXT PRIMARY KEY,
    host      TEXT NOT NULL,
    greets    INTEGER NOT NULL,
    greets_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX hosted_by_host ON hosted (host);

-- One row for each message and each agent whose session ran when it was stored, or began while it was unread.
-- `next_at` is set for as long as something is left to do.
CREATE TABLE deliveries (
    message_id INTEGER NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
    agent_id   TEXT NOT NULL,
    -- Whether it may break into a turn, and whether it was sent to this agent alone.
    interrupts INTEGER NOT NULL,
    direct     INTEGER NOT NULL,
    state      TEXT NOT NULL,
    how        TEXT,
    evidence   TEXT,
    attempts   INTEGER NOT NULL,
    reason     TEXT,
    updated_at INTEGER NOT NULL,
    next_at    INTEGER,
    -- The line that was shown last, and whether a try is under way whose outcome nobody told.
    tried      TEXT,
    trying     INTEGER NOT NULL,
    PRIMARY KEY (message_id, agent_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX deliveries_open ON deliveries (agent_id, message_id) WHERE next_at IS NOT NULL;
CREATE INDEX deliveries_tried ON deliveries (next_at) WHERE next_at IS NOT NULL AND attempts >= 4;
CREATE INDEX deliveries_parked ON deliveries (agent_id, message_id) WHERE state = 'parked';

-- What an agent holds, when it begins anew.
CREATE INDEX messages_by_holder ON messages (claimed_by, id) WHERE claim_expires_at IS NOT NULL;

ALTER TABLE agents ADD COLUMN attention TEXT NOT NULL DEFAULT 'open';

-- Whoever runs the session that an event is about hears of it too.
ALTER TABLE events ADD COLUMN host TEXT;
CREATE INDEX events_by_host ON events (host, seq) WHERE host IS NOT NULL;

INSERT INTO hosted (agent_id, host, greets, greets_at)
    SELECT json_extract(value, '$.agentId'), 'orchestrator-' || orchestrators.id, 0, 0
    FROM orchestrators, json_each(managed_agents) WHERE 1 ON CONFLICT (agent_id) DO NOTHING;
INSERT INTO hosted (agent_id, host, greets, greets_at)
    SELECT agent_id, '', 0, 0 FROM sessions WHERE ended_at IS NULL ON CONFLICT (agent_id) DO UPDATE SET host = '';
