-- Accounts, workspaces, documents with their one log of updates, and what keeps requests honest.
-- Times are UTC milliseconds, ids UUIDv7 text, JSON is TEXT. A state is a moment (NULL: not so).

CREATE TABLE users (
    id TEXT NOT NULL PRIMARY KEY,
    email TEXT NOT NULL,
    email_key TEXT NOT NULL UNIQUE,
    email_verified_at INTEGER,
    display_name TEXT NOT NULL,
    avatar_url TEXT,
    password_hash TEXT,
    admin_at INTEGER,
    created_at INTEGER NOT NULL,
    disabled_at INTEGER
) STRICT, WITHOUT ROWID;

-- A sign-in: what it may do ends with it. `ends_at` is absolute, `expires_at` moves on with use.
CREATE TABLE sessions (
    id TEXT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    kind TEXT NOT NULL CHECK (kind IN ('app', 'web')),
    device TEXT NOT NULL,
    address TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    authenticated_at INTEGER NOT NULL,
    used_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    ends_at INTEGER NOT NULL,
    ended_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_user ON sessions (user_id, used_at);

-- The secrets of a session, by SHA-256. A refresh token that was used keeps the salt its successors are derived with.
CREATE TABLE tokens (
    hash BLOB NOT NULL PRIMARY KEY,
    session_id TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    kind TEXT NOT NULL CHECK (kind IN ('access', 'refresh', 'cookie')),
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    rotated_at INTEGER,
    salt BLOB
) STRICT, WITHOUT ROWID;
CREATE INDEX tokens_session ON tokens (session_id);
CREATE INDEX tokens_expiry ON tokens (expires_at);

CREATE TABLE personal_tokens (
    id TEXT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    hash BLOB NOT NULL UNIQUE,
    hint TEXT NOT NULL,
    scopes TEXT NOT NULL,
    workspace_id TEXT,
    created_at INTEGER NOT NULL,
    used_at INTEGER,
    expires_at INTEGER,
    revoked_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX personal_tokens_user ON personal_tokens (user_id, created_at);

-- One-time codes that travel in links: sign-up, a new e-mail address, a forgotten password.
CREATE TABLE codes (
    hash BLOB NOT NULL PRIMARY KEY,
    purpose TEXT NOT NULL CHECK (purpose IN ('signup', 'email', 'reset')),
    user_id TEXT REFERENCES users (id) ON DELETE CASCADE,
    email TEXT NOT NULL,
    email_key TEXT NOT NULL,
    payload TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    used_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX codes_email ON codes (email_key, purpose);
CREATE INDEX codes_user ON codes (user_id);

CREATE TABLE workspaces (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE workspace_members (
    workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role TEXT NOT NULL CHECK (role IN ('owner', 'admin', 'editor', 'commenter', 'viewer')),
    joined_at INTEGER NOT NULL,
    PRIMARY KEY (workspace_id, user_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX workspace_members_user ON workspace_members (user_id);

CREATE TABLE invitations (
    id TEXT NOT NULL PRIMARY KEY,
    workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    hash BLOB NOT NULL UNIQUE,
    email TEXT,
    email_key TEXT,
    role TEXT NOT NULL CHECK (role IN ('admin', 'editor', 'commenter', 'viewer')),
    invited_by TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    accepted_at INTEGER,
    accepted_by TEXT,
    revoked_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX invitations_workspace ON invitations (workspace_id, created_at);

-- A document or folder. `parent_id` is '' at the root. `path_key` is the folded path: unique among what is not trashed,
-- and a range over it is a subtree. `trash_id` names the document whose trashing took this one along.
CREATE TABLE documents (
    id TEXT NOT NULL PRIMARY KEY,
    workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    parent_id TEXT NOT NULL,
    position TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('markdown', 'richtext', 'mindmap', 'folder')),
    title TEXT NOT NULL,
    filename TEXT NOT NULL,
    path TEXT NOT NULL,
    path_key TEXT NOT NULL,
    tags TEXT NOT NULL,
    version INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    content_hash TEXT NOT NULL,
    content_seq INTEGER NOT NULL,
    size INTEGER NOT NULL,
    author_id TEXT NOT NULL,
    updated_by TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    trashed_at INTEGER,
    trash_id TEXT,
    archived_at INTEGER,
    template_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX documents_path ON documents (workspace_id, path_key) WHERE trashed_at IS NULL;
CREATE INDEX documents_siblings ON documents (workspace_id, parent_id, position, id);
CREATE INDEX documents_updated ON documents (workspace_id, updated_at, id);
CREATE INDEX documents_trash ON documents (workspace_id, trash_id) WHERE trashed_at IS NOT NULL;

-- The Markdown projection of the log at documents.content_seq: what every reading answers from.
CREATE TABLE document_texts (
    document_id TEXT NOT NULL PRIMARY KEY REFERENCES documents (id) ON DELETE CASCADE,
    text TEXT NOT NULL
) STRICT;

-- The truth: an append-only log of Yjs updates, and a snapshot for loading fast. With a rowid: without one, SQLite puts
-- what is over a quarter of a page onto a page of its own, as the first update of most documents is.
CREATE TABLE document_updates (
    document_id TEXT NOT NULL REFERENCES documents (id) ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    author_id TEXT NOT NULL,
    device TEXT NOT NULL,
    at INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (document_id, seq)
) STRICT;

CREATE TABLE document_snapshots (
    document_id TEXT NOT NULL PRIMARY KEY REFERENCES documents (id) ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    data BLOB NOT NULL
) STRICT;

-- The history people see. A version's text is the present one (the same hash), or stands in `texts`.
CREATE TABLE document_versions (
    document_id TEXT NOT NULL REFERENCES documents (id) ON DELETE CASCADE,
    version INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    title TEXT NOT NULL,
    name TEXT,
    reason TEXT NOT NULL,
    authors TEXT NOT NULL,
    content_hash TEXT NOT NULL,
    size INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (document_id, version)
) STRICT, WITHOUT ROWID;

-- What a document said before: put here when it moves on, each text once.
CREATE TABLE texts (
    document_id TEXT NOT NULL REFERENCES documents (id) ON DELETE CASCADE,
    hash TEXT NOT NULL,
    encoding TEXT NOT NULL CHECK (encoding IN ('plain', 'zlib')),
    data BLOB NOT NULL,
    PRIMARY KEY (document_id, hash)
) STRICT;

CREATE TABLE document_tags (
    workspace_id TEXT NOT NULL,
    tag_key TEXT NOT NULL,
    document_id TEXT NOT NULL REFERENCES documents (id) ON DELETE CASCADE,
    tag TEXT NOT NULL,
    PRIMARY KEY (workspace_id, tag_key, document_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX document_tags_document ON document_tags (document_id);

CREATE TABLE document_links (
    document_id TEXT NOT NULL REFERENCES documents (id) ON DELETE CASCADE,
    workspace_id TEXT NOT NULL,
    target_key TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('wiki', 'path', 'id')),
    target TEXT NOT NULL,
    PRIMARY KEY (document_id, kind, target)
) STRICT, WITHOUT ROWID;
CREATE INDEX document_links_target ON document_links (workspace_id, target_key);

CREATE TABLE favourites (
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    document_id TEXT NOT NULL REFERENCES documents (id) ON DELETE CASCADE,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (user_id, document_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX favourites_document ON favourites (document_id);

-- The sync log: one row per thing, moved to a new position of its workspace at each change.
CREATE TABLE changes (
    workspace_id TEXT NOT NULL,
    entity TEXT NOT NULL,
    entity_id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    action TEXT NOT NULL CHECK (action IN ('upsert', 'delete')),
    version INTEGER NOT NULL,
    actor_id TEXT NOT NULL,
    device TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (workspace_id, entity, entity_id)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX changes_seq ON changes (workspace_id, seq);

CREATE TABLE idempotency_keys (
    principal TEXT NOT NULL,
    key TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    result_id TEXT NOT NULL,
    version INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (principal, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);

CREATE TABLE audit (
    id TEXT NOT NULL PRIMARY KEY,
    at INTEGER NOT NULL,
    actor_id TEXT,
    action TEXT NOT NULL,
    object TEXT NOT NULL,
    workspace_id TEXT,
    address TEXT NOT NULL,
    request_id TEXT NOT NULL,
    detail TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX audit_workspace ON audit (workspace_id, at);
