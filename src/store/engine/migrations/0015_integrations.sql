-- What integrations sent, which of it came before, and what could not be read.

CREATE TABLE integrations (
    name         TEXT NOT NULL PRIMARY KEY,
    events       INTEGER NOT NULL,
    created      INTEGER NOT NULL,
    raised       INTEGER NOT NULL,
    resolved     INTEGER NOT NULL,
    ignored      INTEGER NOT NULL,
    replayed     INTEGER NOT NULL,
    unreadable   INTEGER NOT NULL,
    last_at      INTEGER NOT NULL,
    last_task_id INTEGER,
    error_at     INTEGER,
    error        TEXT
) STRICT, WITHOUT ROWID;

-- Under which ids deliveries came that were done with.
CREATE TABLE done_deliveries (
    id          INTEGER PRIMARY KEY,
    integration TEXT NOT NULL,
    delivery_id TEXT NOT NULL,
    task_id     INTEGER,
    at          INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX done_deliveries_by_id ON done_deliveries (integration, delivery_id);

-- No number is given twice: whoever tries one again means that one.
CREATE TABLE kept_deliveries (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    integration TEXT NOT NULL,
    delivery_id TEXT,
    at          INTEGER NOT NULL,
    reason      TEXT NOT NULL,
    headers     TEXT NOT NULL,
    body        BLOB NOT NULL,
    body_bytes  INTEGER NOT NULL,
    sent_by     TEXT NOT NULL,
    tries       INTEGER NOT NULL
) STRICT;
CREATE INDEX kept_deliveries_by_integration ON kept_deliveries (integration, id);
CREATE UNIQUE INDEX kept_deliveries_by_id ON kept_deliveries (integration, delivery_id) WHERE delivery_id IS NOT NULL;
