-- The first answer to a control request belongs to its command, and its key is bound to the command's id:
-- the answer is completed when the program runs, and withdrawn when nothing came of the request. Answers
-- from before this stay with their keys.

ALTER TABLE commands ADD COLUMN answer TEXT;

CREATE TABLE idempotency_of_commands (
    scope       TEXT NOT NULL,
    key         TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    answer      TEXT,
    command_id  INTEGER,
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (scope, key)
) STRICT, WITHOUT ROWID;
INSERT INTO idempotency_of_commands (scope, key, fingerprint, answer, created_at)
    SELECT scope, key, fingerprint, answer, created_at FROM idempotency;
DROP TABLE idempotency;
ALTER TABLE idempotency_of_commands RENAME TO idempotency;
CREATE INDEX idempotency_by_age ON idempotency (created_at);
