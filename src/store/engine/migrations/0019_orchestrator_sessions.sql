-- Which daemon speaks for an orchestrator: the one that registered last.
ALTER TABLE orchestrators ADD COLUMN instance_id TEXT;
ALTER TABLE orchestrators ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0;
