-- Documents whose log has brought a server down: they are not loaded until it has been read elsewhere without harm.
CREATE TABLE quarantined_documents (
    document_id TEXT NOT NULL PRIMARY KEY REFERENCES documents (id) ON DELETE CASCADE,
    at INTEGER NOT NULL,
    why TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Updates that have, by their SHA-256: they are refused.
CREATE TABLE refused_updates (
    hash BLOB NOT NULL PRIMARY KEY,
    document_id TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
