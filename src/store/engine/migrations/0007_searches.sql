-- What a search needs so that its cost does not grow with what is stored: a list for each thing that messages,
-- events and records are filtered by, and what an agent has read as ranges of ids. With many messages this takes
-- a while.

-- No message to the target from the first to the last id is still to be read by the agent.
CREATE TABLE read_ranges (
    agent_id TEXT NOT NULL,
    target   TEXT NOT NULL,
    from_id  INTEGER NOT NULL,
    to_id    INTEGER NOT NULL,
    PRIMARY KEY (agent_id, target, to_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX read_ranges_by_end ON read_ranges (to_id);

CREATE INDEX messages_by_sender ON messages (sender, id);
-- Nearly all messages are of the other type.
CREATE INDEX messages_of_system ON messages (type, id) WHERE type = 'system';

CREATE INDEX events_by_name ON events (name, seq);
CREATE INDEX activity_by_kind ON activity (kind, id);
CREATE INDEX commands_by_status ON commands (status, id);
CREATE INDEX commands_by_kind ON commands (kind, id);
-- For whoever looks for what time has ended.
CREATE INDEX commands_of_target ON commands (target, status);
CREATE INDEX commands_finished ON commands (updated_at) WHERE status NOT IN ('pending', 'accepted', 'running');
DROP INDEX commands_open;
CREATE INDEX agents_live ON agents (last_seen) WHERE status <> 'offline';
CREATE INDEX agents_offline ON agents (last_seen) WHERE status = 'offline';
CREATE INDEX agents_live_by_id ON agents (id) WHERE status <> 'offline';
CREATE INDEX agents_offline_by_id ON agents (id) WHERE status = 'offline';
CREATE INDEX sessions_by_end ON sessions (ended_at);
CREATE INDEX sessions_by_name ON sessions (name);
CREATE INDEX tokens_by_expiry ON tokens (expires_at) WHERE expires_at IS NOT NULL;

-- Messages with consecutive places in their target that the same agent read are one range.
INSERT INTO read_ranges (agent_id, target, from_id, to_id)
    SELECT agent_id, target, min(id), max(id) FROM (
        SELECT reads.agent_id, placed.target, placed.id,
            placed.place - row_number() OVER (PARTITION BY reads.agent_id, placed.target ORDER BY placed.id) AS island
        FROM (SELECT id, target, row_number() OVER (PARTITION BY target ORDER BY id) AS place FROM messages) AS placed
        JOIN reads ON reads.message_id = placed.id
    ) AS islands
    GROUP BY agent_id, target, island;

-- From now on kept with each insert and delete, so that nobody counts them: messages, those whose event is above
-- the floor, events, and up to which number that is so.
INSERT INTO meta (key, value)
    SELECT 'counts', (SELECT count(*) FROM messages)
        || ' ' || (SELECT count(*) FROM messages
                   WHERE id > coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'event_floor'), 0))
        || ' ' || (SELECT count(*) FROM events)
        || ' ' || max((SELECT coalesce(max(id), 0) FROM messages), (SELECT coalesce(max(seq), 0) FROM events));

-- Statistics of an earlier version's making: with them the planner takes a list for short that is long for others.
ANALYZE meta;
DELETE FROM sqlite_stat1;
