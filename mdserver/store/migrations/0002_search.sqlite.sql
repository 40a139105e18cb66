-- Its own copy of the tokens: an entry is taken out as exactly what was put in. The tokens are made by mdserver and
-- joined by spaces (terms.py); the tokenizer only splits them again.
CREATE VIRTUAL TABLE search_fts USING fts5(title, words, tokenize = 'ascii', prefix = '2 3');
-- Upkeep merges any two segments of a level: a word is looked for in each, so few segments halve a search.
INSERT INTO search_fts (search_fts, rank) VALUES ('usermerge', 2);
-- Entering documents merges nothing by itself before there are many segments: that doubled its cost.
INSERT INTO search_fts (search_fts, rank) VALUES ('automerge', 0);
INSERT INTO search_fts (search_fts, rank) VALUES ('crisismerge', 64);
