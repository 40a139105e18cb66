-- Background jobs: when each ran, what came of it, when it is due again, and who runs it now.

-- `runner` has claimed the job until `lease_until`, which it moves on while it works. What a run that is cut off would
-- leave behind (`due_at`, `failures`, `error`) is written when it begins.
CREATE TABLE jobs (
    name TEXT NOT NULL PRIMARY KEY,
    due_at INTEGER NOT NULL,
    started_at INTEGER,
    ended_at INTEGER,
    succeeded_at INTEGER,
    outcome TEXT,
    error TEXT,
    failures INTEGER NOT NULL,
    runner TEXT,
    lease_until INTEGER
) STRICT, WITHOUT ROWID;

-- The oldest in the trash first; of a set what stands below goes first.
CREATE INDEX documents_trashed ON documents (trashed_at, workspace_id, trash_id, path_key DESC)
    WHERE trashed_at IS NOT NULL;
