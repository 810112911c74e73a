-- Channels with their counts, which are kept with each write. One that nobody declared goes with its last message.

CREATE TABLE channels (
    name            TEXT PRIMARY KEY,
    direction       TEXT NOT NULL,
    messages        INTEGER NOT NULL,
    subscribers     INTEGER NOT NULL,
    last_message_at INTEGER,
    declared        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO channels (name, direction, messages, subscribers, last_message_at, declared)
    SELECT channel, 'both', count(*),
        (SELECT count(*) FROM agent_targets WHERE target = 'channel:' || messages.channel), max(created_at), 0
    FROM messages WHERE channel IS NOT NULL GROUP BY channel;
