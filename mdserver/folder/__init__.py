"""The folder client: a directory of plain files and a workspace, kept the same. Floor 3."""
