"""Rich text and Markdown: what blocks there are, reading and writing them, their smallest edits. Floor 0."""
