-- Which group targets reach which agent, kept with its card: one row for each tag, capability, label and
-- channel. Finding agents by tag or capability is a look-up here; `broadcast` reaches all and has no row.

CREATE TABLE agent_targets (
    target   TEXT NOT NULL,
    agent_id TEXT NOT NULL REFERENCES agents (id) ON DELETE CASCADE,
    PRIMARY KEY (target, agent_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX agent_targets_by_agent ON agent_targets (agent_id);

INSERT OR IGNORE INTO agent_targets (target, agent_id)
    SELECT 'tag:' || value, agents.id FROM agents, json_each(agents.tags)
    UNION ALL SELECT 'cap:' || value, agents.id FROM agents, json_each(agents.capabilities)
    UNION ALL SELECT 'label:' || label, id FROM agents WHERE label IS NOT NULL
    UNION ALL SELECT 'channel:' || value, agents.id FROM agents, json_each(agents.meta, '$.channels')
        WHERE json_type(agents.meta, '$.channels') = 'array' AND json_each.type = 'text'
    UNION ALL SELECT value, agents.id FROM agents, json_each(agents.tags) WHERE value LIKE 'channel:%';
