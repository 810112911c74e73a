-- How the relay knows who sent a message, and whose message nobody read. A sender is kept as the first letter of its
-- kind, `+` if it is verified and `-` if not, and the name of its token. Nobody wrote down how earlier ones were
-- known: they are what their ids say, and not verified.

ALTER TABLE messages ADD COLUMN sent_by TEXT NOT NULL DEFAULT 'a-unknown';

-- Set once it is clear what becomes of a message that nobody read in time: its sender was told, or needs not be.
ALTER TABLE messages ADD COLUMN settled INTEGER;
CREATE INDEX messages_by_expiry ON messages (expires_at) WHERE expires_at IS NOT NULL AND settled IS NULL;

-- Agents that are gone, with whom it was last looked whether messages to them are unread: those after `after_id`, up
-- to `last_id`, are still to be looked at. A row each, for as long as that takes.
CREATE TABLE bounces_due (
    id       INTEGER PRIMARY KEY,
    agent_id TEXT NOT NULL UNIQUE,
    reason   TEXT NOT NULL,
    after_id INTEGER NOT NULL,
    last_id  INTEGER NOT NULL
) STRICT;

-- For whoever looks for an agent under a name that is not quite its own.
CREATE INDEX agents_by_name ON agents (name);

UPDATE messages SET sent_by = 'u-unknown' WHERE sender = 'user';
UPDATE messages SET sent_by = 's-unknown' WHERE sender = 'system';
UPDATE messages SET sent_by = 'o-unknown' WHERE sender >= 'orchestrator-' AND sender < 'orchestrator.';
-- What expired long ago is told to nobody any more.
UPDATE messages SET settled = 1 WHERE expires_at <= CAST(strftime('%s', 'now') AS INTEGER) * 1000;
