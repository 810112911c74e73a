-- What waits for a person. A cause has one item at most; what was dismissed stays for as long as its cause lasts, so
-- that it does not come back. No number is given twice.

CREATE TABLE attention (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    cause        TEXT NOT NULL UNIQUE,
    occasion     TEXT NOT NULL,
    urgency      INTEGER NOT NULL,
    kind         TEXT NOT NULL,
    title        TEXT NOT NULL,
    since        INTEGER NOT NULL,
    agent_id     TEXT,
    task_id      INTEGER,
    command_id   INTEGER,
    message_id   INTEGER,
    plugin_id    TEXT,
    hint         TEXT NOT NULL,
    -- Whether the cause lasts, so that a dismissal is remembered until it ends.
    lasts        INTEGER NOT NULL,
    dismissed_at INTEGER
) STRICT;
CREATE INDEX attention_in_order ON attention (urgency, since, id) WHERE dismissed_at IS NULL;
CREATE INDEX attention_by_command ON attention (command_id) WHERE command_id IS NOT NULL;
CREATE INDEX attention_of_threads ON attention (message_id) WHERE kind = 'loop';
CREATE INDEX attention_by_plugin ON attention (plugin_id) WHERE plugin_id IS NOT NULL;

-- How a person comes to a session of the relay's own host.
ALTER TABLE sessions ADD COLUMN attach TEXT;

-- How it was known who asked for a task: its message says so, and may be sent long after. As with messages, nobody
-- wrote down how earlier ones were known.
ALTER TABLE tasks ADD COLUMN asked_by TEXT NOT NULL DEFAULT 'a-unknown';

-- What waits already.
INSERT INTO attention (cause, occasion, urgency, kind, title, since, agent_id, hint, lasts)
    SELECT 'condition ' || id, condition_kind,
        CASE WHEN condition_kind IN ('approval', 'dialog') THEN 0 WHEN condition_kind = 'input' THEN 1
            WHEN condition_kind = 'crashed' THEN 2 ELSE 3 END,
        condition_kind, substr(id || ' is in the condition ' || condition_kind, 1, 200),
        json_extract(condition, '$.since'), id, 'look at it in its session', 1
    FROM agents WHERE condition_kind IS NOT NULL AND condition_kind <> 'starting';
INSERT INTO attention (cause, occasion, urgency, kind, title, since, agent_id, task_id, message_id, hint, lasts)
    SELECT 'task ' || id, kind, CASE kind WHEN 'approval' THEN 0 ELSE 1 END, kind, title, created_at, asker, id,
        message_id, 'answer it: POST /api/tasks/' || id || '/answer with `answer`', 1
    FROM tasks WHERE target = 'user' AND kind <> 'work' AND finished_at IS NULL AND blocked_by = '[]';
UPDATE tasks SET asked_by = 'u-unknown' WHERE asker = 'user';
UPDATE tasks SET asked_by = 's-unknown' WHERE asker IS NULL OR asker = 'system';
