-- Since when the administrators know that a job fails, so that they are told of it once.

ALTER TABLE jobs ADD COLUMN told_at INTEGER;
