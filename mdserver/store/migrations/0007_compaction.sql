-- Old rows of a log are merged: a row then holds the updates from first_seq (NULL: only its own) to seq.
ALTER TABLE document_updates ADD COLUMN first_seq INTEGER;

-- Who wrote what of the rows that were merged, as runs of clocks of a Yjs client.
CREATE TABLE document_authors (
    document_id TEXT NOT NULL REFERENCES documents (id) ON DELETE CASCADE,
    client INTEGER NOT NULL,
    clock INTEGER NOT NULL,
    length INTEGER NOT NULL,
    author_id TEXT NOT NULL,
    device TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (document_id, client, clock)
) STRICT, WITHOUT ROWID;
