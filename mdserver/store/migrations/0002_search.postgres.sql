-- The vector is made by mdserver of its own tokens (terms.py); phrases are looked for in the tokens themselves, since a
-- vector forgets positions beyond 16,383.
CREATE TABLE search_vectors (
    n BIGINT NOT NULL PRIMARY KEY,
    title TEXT COLLATE "C" NOT NULL,
    words TEXT COLLATE "C" NOT NULL,
    vector TSVECTOR NOT NULL
);
CREATE INDEX search_vectors_vector ON search_vectors USING GIN (vector);
