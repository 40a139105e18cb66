-- The index that searches ask. It is derived: what is in it can be thrown away and made anew from the documents.

-- How far into a workspace's change log (changes.seq) the index has come. Numbers in the index are
-- `number << 32 | counter`, so that a workspace is one range of them; `counter` is the last one given.
CREATE TABLE search_workspaces (
    workspace_id TEXT NOT NULL PRIMARY KEY,
    number INTEGER NOT NULL UNIQUE,
    seq INTEGER NOT NULL,
    counter INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Of which title and text of a document the index knows. It holds only while these are the document's own.
CREATE TABLE search_documents (
    n INTEGER NOT NULL PRIMARY KEY,
    document_id TEXT NOT NULL UNIQUE,
    title TEXT NOT NULL,
    content_hash TEXT NOT NULL
) STRICT;

-- A long text is indexed in parts, under negative numbers; `owner` is the document's number.
CREATE TABLE search_parts (
    n INTEGER NOT NULL PRIMARY KEY,
    owner INTEGER NOT NULL
) STRICT;
CREATE INDEX search_parts_owner ON search_parts (owner);
