-- What keeps an agent from working, as JSON, with what is looked for beside it; and what `ready` comes back to.

ALTER TABLE agents ADD COLUMN condition TEXT;
ALTER TABLE agents ADD COLUMN condition_kind TEXT;
ALTER TABLE agents ADD COLUMN condition_until INTEGER;
ALTER TABLE agents ADD COLUMN ready_otherwise INTEGER NOT NULL DEFAULT 0;
UPDATE agents SET ready_otherwise = ready;

CREATE INDEX agents_by_condition ON agents (condition_kind, id) WHERE condition_kind IS NOT NULL;
CREATE INDEX agents_in_condition ON agents (id) WHERE condition_kind IS NOT NULL;
CREATE INDEX agents_by_condition_until ON agents (condition_until) WHERE condition_until IS NOT NULL;
