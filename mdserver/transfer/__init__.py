"""Documents out of files and into files: folders and zip archives of Markdown. Floor 3."""
