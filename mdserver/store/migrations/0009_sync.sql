-- What sync needs beside the change log: epochs that tell a restored database, when a membership was granted, which
-- operations had their effect, and passages that two sides rewrote.

-- Each process that changes anything begins an epoch; a database that was restored knows none of the epochs that
-- began after its backup.
CREATE TABLE epochs (
    number INTEGER NOT NULL PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    at INTEGER NOT NULL
) STRICT;

-- The position of a workspace's log at which an epoch made its first change there: up to it the earlier epochs reach.
CREATE TABLE epoch_starts (
    workspace_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (workspace_id, number)
) STRICT, WITHOUT ROWID;

-- The position of the newest deletion that the log has forgotten: whoever is not that far cannot be told of it.
CREATE TABLE change_horizons (
    workspace_id TEXT NOT NULL PRIMARY KEY,
    seq INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX changes_deleted ON changes (at) WHERE action = 'delete';

-- The position at which the membership began: whoever was not that far starts the workspace anew.
ALTER TABLE workspace_members ADD COLUMN granted_seq INTEGER NOT NULL DEFAULT 0;

-- Operations of devices that had their effect, for 30 days: one that is sent again has none.
CREATE TABLE operations (
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    op_id TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('applied', 'merged', 'conflict')),
    document_id TEXT NOT NULL,
    version INTEGER NOT NULL,
    conflict_id TEXT,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (user_id, op_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX operations_age ON operations (created_at);

-- Passages that two sides rewrote, until somebody settles them. `passages` is JSON; places are those in `version`.
CREATE TABLE conflicts (
    id TEXT NOT NULL PRIMARY KEY,
    workspace_id TEXT NOT NULL,
    document_id TEXT NOT NULL REFERENCES documents (id) ON DELETE CASCADE,
    version INTEGER NOT NULL,
    author_id TEXT NOT NULL,
    device TEXT NOT NULL,
    passages TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX conflicts_document ON conflicts (document_id, id);
CREATE INDEX conflicts_workspace ON conflicts (workspace_id, id);
