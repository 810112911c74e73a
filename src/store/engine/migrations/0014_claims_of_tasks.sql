-- The claim of a task is kept with the task alone, and what happened to a task in the order in which it is read.

UPDATE messages SET claimed_by = NULL, claimed_at = NULL, claim_expires_at = NULL, claim_generation = 0,
    completed_at = NULL
WHERE id IN (SELECT message_id FROM tasks WHERE message_id IS NOT NULL);

-- A message says which task it brings.
DROP INDEX tasks_by_message;

-- An event has the number of the event of the stream by which it was told. Those of earlier versions have smaller ones.
ALTER TABLE task_events RENAME TO task_events_before;
DROP INDEX task_events_by_task;
CREATE TABLE task_events (
    task_id    INTEGER NOT NULL,
    id         INTEGER NOT NULL,
    type       TEXT NOT NULL,
    agent_id   TEXT,
    body       TEXT,
    metadata   TEXT,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (task_id, id)
) STRICT, WITHOUT ROWID;
INSERT INTO task_events (task_id, id, type, agent_id, body, metadata, created_at)
    SELECT task_id, id, type, agent_id, body, metadata, created_at FROM task_events_before ORDER BY task_id, id;
DROP TABLE task_events_before;
