"""A title that was changed on the server is changed in front matter, too, where that said what the title was.

The edit must be no quarrel between two folders that make it, for two titles in turn. So it is none of a file, which may
wait there for long: it is made of the text that both sides agree on, right after that and the title were heard, and
sent at once or never. What comes of it is brought into the file like any other edit.
"""

from __future__ import annotations

import msgspec

from mdserver import frontmatter

from .rows import Remote, Retitle
from .state import State

_EDITORS = ("editor", "admin", "owner")


def note(state: State, before: Remote, after: Remote) -> None:
    """Remember that a title was changed, and what it was."""
    if before.title == after.title or before.gone or after.gone or after.id not in state.locals:
        return
    known = state.retitles.get(after.id) or Retitle(id=after.id)
    if before.title not in known.titles:
        state.put_retitle(msgspec.structs.replace(known, titles=[*known.titles, before.title]))


def due(state: State) -> dict[str, str]:
    """Id → the text with its new title. Where nothing is to be done any more, that is forgotten."""
    found: dict[str, str] = {}
    for known in list(state.retitles.values()):
        row, remote = state.locals.get(known.id), state.remotes.get(known.id)
        text = None
        if row is not None and remote is not None and not remote.gone and remote.role in _EDITORS:
            if row.ahead or (row.version, row.hash) != (remote.version, remote.hash):
                continue
            base = state.base(row.id)
            said = frontmatter.read(base).title
            text = frontmatter.retitled(base, remote.title) if said in known.titles and said != remote.title else None
        if text is not None:
            found[known.id] = text
        else:
            with state.transaction():
                state.drop_retitle(known.id)
    return found
