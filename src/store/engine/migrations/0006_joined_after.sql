-- Since when an agent gets what is sent to its groups is a number of an event, because clocks are set. For agents
-- from before this it is found once by the times: the newest message that is older than their card. Ids grow with
-- time, so halving finds it; where the times do not, it is one of the places where the order of the two changes.

ALTER TABLE agents ADD COLUMN joined_after INTEGER NOT NULL DEFAULT 0;

WITH RECURSIVE search (agent_id, created_at, low, high) AS (
    SELECT id, created_at, 0, (SELECT coalesce(max(id), 0) FROM messages) FROM agents
    UNION ALL
    SELECT agent_id, created_at,
           iif((SELECT created_at FROM messages WHERE id <= (low + high + 1) / 2 ORDER BY id DESC LIMIT 1)
                   >= search.created_at, low, (low + high + 1) / 2),
           iif((SELECT created_at FROM messages WHERE id <= (low + high + 1) / 2 ORDER BY id DESC LIMIT 1)
                   >= search.created_at, (low + high + 1) / 2 - 1, high)
    FROM search WHERE low < high
)
UPDATE agents SET joined_after = (SELECT low FROM search WHERE agent_id = agents.id AND low = high);
