"""From what was done in the folder to the operations that say so. Reads files; changes nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Protocol

import msgspec

from mdserver import frontmatter, ids
from mdserver.client import (
    CreateDocument,
    EditDocument,
    MoveDocument,
    Operation,
    RenameDocument,
    RetitleDocument,
    TagDocument,
    TrashDocument,
)
from mdserver.outline import derive_title
from mdserver.text import fold, free

from .matching import Found
from .names import last, parent
from .rows import Local, Refusal, Remote, Sig

MOST_DEEP = 1_000


class Read(msgspec.Struct):
    """A file's text as it was read."""

    text: str
    hash: str
    sig: Sig


class Files(Protocol):
    """The folder's files, each read when it may have changed."""

    def hash_of(self, path: str) -> str | None: ...

    def read(self, path: str) -> Read | None: ...


class Known(Protocol):
    """What is remembered of the documents."""

    remotes: dict[str, Remote]
    locals: dict[str, Local]
    refusals: dict[str, Refusal]

    def base(self, id: str) -> str: ...


class Wish(msgspec.Struct, kw_only=True):
    """An operation to be sent, with what has to be known when its answer comes."""

    op: Operation
    path: str
    read: Read | None = None
    fingerprint: str


def derive(
    known: Known,
    found: Found,
    files: Files,
    *,
    workspace_id: str,
    with_base: set[tuple[str, int]],
    titled: Mapping[str, str],
    most: int | None = None,
) -> tuple[list[Wish], bool]:
    """The operations, in an order in which the server can do them, and whether these are all.

    `with_base`: (id, version) that the server no longer knows. `titled`: id → a text whose title was changed, if
    nothing else is to be said of it. `most`: bytes of new texts after which the rest waits.
    """
    made = _Derivation(known, found, files, workspace_id, with_base, most)
    return [*made.titles(titled), *made.wishes()], made.is_whole


class _Derivation:
    def __init__(
        self,
        known: Known,
        found: Found,
        files: Files,
        workspace_id: str,
        with_base: set[tuple[str, int]],
        most: int | None,
    ) -> None:
        self._known, self._found, self._files = known, found, files
        self._workspace_id, self._with_base, self._most = workspace_id, with_base, most
        self._new: dict[str, str] = {}
        """The path of what is new → the id that it gets."""
        self._moving: dict[str, tuple[str, str]] = {}
        """id → (parent, name) for what stands elsewhere than was agreed."""
        self.is_whole = True

    def wishes(self) -> list[Wish]:
        self._new = {path: ids.new() for path in (*self._found.new_folders, *self._found.new_files)}
        self._find_moves()
        creates = self._creates()
        if not self.is_whole:  # other operations may need what is still to be made
            return creates
        return [*creates, *self._moves(), *self._edits(), *self._trashes()]

    def titles(self, titled: Mapping[str, str]) -> list[Wish]:
        """Edits of texts that no file holds yet."""
        made: list[Wish] = []
        for id, text in titled.items():
            row, path = self._known.locals[id], self._found.files.get(id)
            if path is not None and not self._is_edited(id):
                edit = EditDocument(id=id, base_version=row.version, content=text)
                made.append(Wish(op=edit, path=path, fingerprint=_print("titled", id, str(row.version), text)))
        return made

    def _owner(self, directory: str) -> str | None:
        """The id of the document whose children are in this directory; empty for the root."""
        owner = self._found.owners.get(directory)
        return self._new.get(owner, owner) if owner is not None else None

    def _creates(self) -> list[Wish]:
        made: list[Wish] = []
        folders = set(self._found.new_folders)
        size = 0
        for path in sorted(self._new, key=lambda one: (one.count("/"), one)):
            owner = self._owner(parent(path))
            if owner is None:
                continue
            if path in folders:
                op = CreateDocument(
                    id=self._new[path],
                    workspace_id=self._workspace_id,
                    parent_id=owner or None,
                    kind="folder",
                    filename=last(path),
                    title=last(path),
                )
                made.append(Wish(op=op, path=path, fingerprint=_print("create", path, owner)))
            elif self._most is not None and size > self._most:
                self.is_whole = False
                break
            elif (read := self._files.read(path)) is not None:
                op = CreateDocument(
                    id=self._new[path],
                    workspace_id=self._workspace_id,
                    parent_id=owner or None,
                    filename=last(path),
                    content=read.text,
                    tags=frontmatter.read(read.text).tags or None,
                )
                wish = Wish(op=op, path=path, read=read, fingerprint=_print("create", path, owner, read.hash))
                made.append(wish)
                size += read.sig.size if wish.fingerprint not in self._known.refusals else 0
        return made

    def _find_moves(self) -> None:
        for id, path in self._standing():
            row, owner = self._known.locals[id], self._owner(parent(path))
            if owner is not None and (owner != row.parent_id or last(path) != row.name):
                self._moving[id] = (owner, path)

    def _standing(self) -> list[tuple[str, str]]:
        """(id, path) of the documents and folders that are there."""
        folders = [(id, path) for id, path in self._found.directories.items() if self._known.locals[id].is_folder]
        return [*self._found.files.items(), *folders]

    def _moves(self) -> list[Wish]:
        made: list[Wish] = []
        for id, (owner, path) in sorted(self._moving.items(), key=lambda one: (one[1][1].count("/"), one[1][1])):
            row, remote = self._known.locals[id], self._known.remotes.get(id)
            if remote is None or (remote.gone and not self._is_edited(id)):
                continue
            name = last(path)
            # The same name: the file name that it stands for stays, which the system may not have taken as it is.
            filename = row.filename if name == row.name else self._free(id, owner, name)
            op: Operation
            if owner == row.parent_id:
                op = RenameDocument(id=id, filename=filename)
            elif name == row.name:
                op = MoveDocument(id=id, parent_id=owner or None)
            else:
                op = MoveDocument(id=id, parent_id=owner or None, filename=filename)
            made.append(Wish(op=op, path=path, fingerprint=_print("move", id, owner, filename)))
            if name != row.name:
                made += self._renamed(id, path, remote)
        return made

    def _renamed(self, id: str, path: str, remote: Remote) -> list[Wish]:
        """A title that only the name said follows the name. An edit says it by itself."""
        row = self._known.locals[id]
        if row.is_folder:
            if remote.title != row.name:
                return []
            op = RetitleDocument(id=id, title=last(path))
            return [Wish(op=op, path=path, fingerprint=_print("title", id, last(path)))]
        if self._is_edited(id):
            return []
        base = self._known.base(id)
        return self._said(id, path, remote, base, base)

    def _free(self, id: str, owner: str, name: str) -> str:
        """The name, or a number of it where a document that stays there has it."""
        leaving = self._moving.keys() | self._found.missing
        taken = {
            fold(one.filename)
            for one in self._known.remotes.values()
            if one.parent_id == owner and not one.gone and one.id != id and one.id not in leaving
        }
        return free(name, taken)

    def _is_edited(self, id: str) -> bool:
        path, row = self._found.files.get(id), self._known.locals[id]
        if path is None or row.ahead:
            return False
        hash = self._files.hash_of(path)
        return hash is not None and hash != row.hash

    def _edits(self) -> list[Wish]:
        made: list[Wish] = []
        for id, path in self._found.files.items():
            remote, row = self._known.remotes.get(id), self._known.locals[id]
            if remote is None or remote.gone == "purge" or not self._is_edited(id):
                continue
            if (read := self._files.read(path)) is None:
                continue
            base = self._known.base(id)
            needs_base = not row.version or (id, row.version) in self._with_base
            edit = EditDocument(
                id=id,
                base_version=row.version,
                base_hash=row.hash,
                content=read.text,
                base_content=base if needs_base else None,
            )
            print_ = _print("edit", id, str(row.version), read.hash, str(needs_base))
            made.append(Wish(op=edit, path=path, read=read, fingerprint=print_))
            made += self._said(id, path, remote, base, read.text)
        return made

    def _said(self, id: str, path: str, remote: Remote, before: str, after: str) -> list[Wish]:
        """Title and tags follow the text, where they were what it said before."""
        made: list[Wish] = []
        row = self._known.locals[id]
        title, new_title = derive_title(before, row.name), derive_title(after, last(path))
        if title != new_title and remote.title == title:
            made.append(
                Wish(op=RetitleDocument(id=id, title=new_title), path=path, fingerprint=_print("title", id, new_title))
            )
        tags, new_tags = frontmatter.read(before).tags, frontmatter.read(after).tags
        if tags != new_tags and _keys(remote.tags) == _keys(tags):
            op = TagDocument(id=id, tags=new_tags)
            made.append(Wish(op=op, path=path, fingerprint=_print("tags", id, *new_tags)))
        return made

    def _trashes(self) -> list[Wish]:
        """What is gone: first what has nothing below it, then the rest from the bottom up, each only if it is empty."""
        made: list[tuple[int, Wish]] = []
        for row in sorted((self._known.locals[id] for id in self._found.missing), key=lambda one: one.path):
            remote = self._known.remotes.get(row.id)
            if remote is None or remote.gone or row.ahead:
                continue
            is_above = row.is_folder or _has_children(row.id, self._known.remotes)
            op = TrashDocument(
                id=row.id,
                base_version=None if row.is_folder else row.version,
                base_hash=None if row.is_folder else row.hash,
                only_if_empty=is_above,
            )
            wish = Wish(op=op, path=row.path, fingerprint=_print("trash", row.id, str(row.version)))
            made.append((-row.path.count("/") if is_above else -MOST_DEEP, wish))
        return [wish for _, wish in sorted(made, key=lambda one: one[0])]


def _has_children(id: str, remotes: Mapping[str, Remote]) -> bool:
    return any(one.parent_id == id and not one.gone for one in remotes.values())


def _keys(tags: list[str]) -> set[str]:
    return {fold(one) for one in tags}


def _print(*words: str) -> str:
    return hashlib.sha256("\0".join(words).encode("utf-8", "surrogatepass")).hexdigest()[:32]
