-- Documents that were edited live since their last version: their text may lag behind the log, and is brought up to it
-- when the server starts.
CREATE TABLE unsettled_documents (
    document_id TEXT NOT NULL PRIMARY KEY REFERENCES documents (id) ON DELETE CASCADE,
    since INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX unsettled_documents_age ON unsettled_documents (since, document_id);

-- The states between two versions that were shown while a document was edited live: where in the log their text is.
CREATE TABLE document_moments (
    document_id TEXT NOT NULL REFERENCES documents (id) ON DELETE CASCADE,
    version INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    content_hash TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (document_id, version)
) STRICT, WITHOUT ROWID;
CREATE INDEX document_moments_age ON document_moments (at);
