"""The smallest edit that makes a rich text document say something else: blocks first, then words and marks. Floor 0."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mdserver import diff

from . import build, texts, write
from .model import CELL, CELLS, HEADER, ITEMS, PARAGRAPH, RULE, TABLE, TEXTS, Block
from .read import read

if TYPE_CHECKING:
    from mdserver.crdt.text import Scratch

_PAIRS = 2_500  # pairs of blocks of which it is computed how alike they are
_LOOK = 400  # characters of a block looked at for that
_ALIKE = 0.3

Step = tuple[Block | None, Block | None]
"""What becomes of a block: kept or changed (both), deleted (the first alone), inserted (the second alone)."""


def make(doc: Scratch, blocks: list[Block]) -> None:
    """Make the document hold these blocks, within a transaction of pycrdt."""
    with doc.transaction() as transaction:
        root = read(doc, transaction._txn)
        strict = write.is_strict(root.blocks) or write.is_strict(blocks)
        _Editing(transaction._txn, strict).children(root, blocks)


class _Editing:
    """One edit. Everything goes from the end to the beginning, so that the places read before stay true."""

    def __init__(self, txn: Any, strict: bool) -> None:
        self.txn = txn
        self.strict = strict
        self.numbers: dict[tuple[Any, ...], int] = {}

    def children(self, old: Block, blocks: list[Block]) -> None:
        """Make a container hold these blocks."""
        steps = self._steps(old, blocks)
        place = len(old.blocks)
        gap: _Gap | None = None
        for one, two in reversed(steps):
            if one is not None:
                place -= 1
                gap = None
                if two is None:
                    self._delete(one)
                elif self.key(one) != self.key(two):
                    self._change(one, two)
            elif two is not None:
                gap = gap or _Gap(self.txn, old, place)
                self._insert(gap, two)
        if old.node is not None and old.kind:
            build.complete(self.txn, old.node, old.kind)

    def key(self, block: Block) -> int:
        """A number that all blocks have that say the same."""
        if not block.key:
            kind = "cell" if block.kind in CELLS else block.kind
            said: tuple[Any, ...]
            if kind in TEXTS or kind in ("cell", RULE):
                said = (kind, write.leaf(block, self.strict))
            elif kind == TABLE:
                said = (kind, *write.aligns_of(block), *map(self.key, block.blocks))
            else:
                said = (kind, *block.attrs.values(), *map(self.key, block.blocks))
            block.key = self.numbers.setdefault(said, len(self.numbers) + 1)
        return block.key

    def _steps(self, old: Block, blocks: list[Block]) -> list[Step]:
        mine = old.blocks
        steps: list[Step] = []
        i = j = 0
        whole = diff.Hunk(len(mine), len(mine), len(blocks), len(blocks))
        keys = [str(self.key(one)) for one in mine], [str(self.key(one)) for one in blocks]
        for a, b, c, d in [*diff.hunks(*keys), whole]:
            steps += zip(mine[i:a], blocks[j:c], strict=True)
            steps += self._paired(mine[a:b], blocks[c:d])
            i, j = b, d
        return steps

    def _paired(self, mine: list[Block], blocks: list[Block]) -> list[Step]:
        """Which of the old blocks become which of the new ones, in order."""
        if not mine or not blocks:
            return [*((one, None) for one in mine), *((None, two) for two in blocks)]
        if len(mine) == len(blocks) == 1:
            return (
                list(zip(mine, blocks, strict=True)) if _fits(*mine, *blocks) else [(mine[0], None), (None, blocks[0])]
            )
        pairs = self._by_likeness(mine, blocks) if len(mine) * len(blocks) <= _PAIRS else _by_kind(mine, blocks)
        steps: list[Step] = []
        i = j = 0
        for a, c in [*pairs, (len(mine), len(blocks))]:
            steps += ((one, None) for one in mine[i:a])
            steps += ((None, two) for two in blocks[j:c])
            if a < len(mine):
                steps.append((mine[a], blocks[c]))
            i, j = a + 1, c + 1
        return steps

    def _by_likeness(self, mine: list[Block], blocks: list[Block]) -> list[tuple[int, int]]:
        """Pairs that together are most alike, found as one finds a longest common subsequence."""
        from rapidfuzz.fuzz import ratio

        left, right = [_words(one) for one in mine], [_words(two) for two in blocks]
        same_size = len(mine) == len(blocks)
        best = [[0.0] * (len(blocks) + 1) for _ in range(len(mine) + 1)]
        alike = [[0.0] * len(blocks) for _ in mine]
        for i in range(len(mine) - 1, -1, -1):
            for j in range(len(blocks) - 1, -1, -1):
                if _fits(mine[i], blocks[j]):
                    found = ratio(left[i], right[j]) / 100
                    if found >= _ALIKE:
                        alike[i][j] = found
                    elif same_size and i == j:
                        alike[i][j] = 0.01
                best[i][j] = max(best[i + 1][j], best[i][j + 1], best[i + 1][j + 1] + alike[i][j])
        pairs: list[tuple[int, int]] = []
        i = j = 0
        while i < len(mine) and j < len(blocks):
            if alike[i][j] and best[i][j] == best[i + 1][j + 1] + alike[i][j]:
                pairs.append((i, j))
                i, j = i + 1, j + 1
            elif best[i][j] == best[i + 1][j]:
                i += 1
            else:
                j += 1
        return pairs

    def _change(self, old: Block, new: Block) -> None:
        if not self._is_editable(old, new):
            self._replace(old, new)
            return
        self._set_attributes(old, new)
        if old.kind in TEXTS:
            element = old.empties[0].node if old.kind in CELLS else old.node
            texts.make(self.txn, element, old, new)
        elif old.kind == TABLE:
            self._table(old, new)
        elif old.kind != RULE:
            self.children(old, new.blocks)

    def _is_editable(self, old: Block, new: Block) -> bool:
        if old.kind in CELLS and old.node is not None and not old.foreign:
            return True
        if old.foreign or old.node is None or not _fits(old, new):
            return False
        if old.kind != TABLE:
            return True
        if any(row.foreign for row in old.blocks):
            return False
        if all(cell.node is not None for row in old.blocks for cell in row.blocks):
            return True
        # Cells that take several columns or rows: only their texts can be edited in place.
        shapes = [[len(row.blocks) for row in table.blocks] for table in (old, new)]
        return shapes[0] == shapes[1] and all(
            not new.blocks[i].blocks[j].spans
            for i, row in enumerate(old.blocks)
            for j, cell in enumerate(row.blocks)
            if cell.node is None
        )

    def _table(self, old: Block, new: Block) -> None:
        aligns = write.aligns_of(new)
        if any(cell.node is None for row in old.blocks for cell in row.blocks):
            for before, row in zip(reversed(old.blocks), reversed(new.blocks), strict=True):
                for one, two in zip(reversed(before.blocks), reversed(row.blocks), strict=True):
                    if one.node is not None and self.key(one) != self.key(two):
                        self._change(one, two)
        else:
            self.children(old, new.blocks)
        if write.aligns_of(old) == aligns:
            return
        for row in old.node.children(self.txn):
            for cell, align in zip(row.children(self.txn), aligns, strict=False):
                _set(self.txn, cell, "align", align or None)

    def _set_attributes(self, old: Block, new: Block) -> None:
        if old.kind in CELLS:
            return  # a table's columns are aligned together
        before, after = build.attributes(old), build.attributes(new)
        for name in before.keys() | after.keys():
            if before.get(name) != after.get(name):
                _set(self.txn, old.node, name, after.get(name))

    def _delete(self, old: Block) -> None:
        if old.node is not None or old.parent is not None:
            old.parent.remove_range(self.txn, old.index, old.count)

    def _replace(self, old: Block, new: Block) -> None:
        if old.kind in CELLS and old.node is not None and old.inlines == [] and hasattr(old.node, "tag"):
            # Of a cell, what is in it: its width and height stay.
            count = old.node.len(self.txn)
            element = old.node.insert_element_prelim(self.txn, count, PARAGRAPH)
            build.insert_spans(self.txn, element, 0, new.spans)
            old.node.remove_range(self.txn, 0, count)
            return
        build.insert(self.txn, old.parent, old.index + old.count, new)
        self._delete(old)

    def _insert(self, gap: _Gap, new: Block) -> None:
        """Insert between the blocks around a gap."""
        if new.kind == PARAGRAPH and gap.empties:  # an empty paragraph waits there
            waiting = gap.empties.pop()
            gap.empties.clear()
            gap.index = waiting.index
            texts.make(self.txn, waiting.node, waiting, new)
            return
        gap.empties.clear()
        if new.kind in CELLS:
            new.kind = gap.cell
        build.insert(self.txn, gap.parent, gap.index, new, first_row=gap.is_first_row)


class _Gap:
    """Where blocks are inserted, all in front of what was inserted there before."""

    def __init__(self, txn: Any, container: Block, place: int) -> None:
        left = container.blocks[place - 1] if place else None
        right = container.blocks[place] if place < len(container.blocks) else None
        if left is not None and left.parent is not None:
            self.parent, self.index = left.parent, left.index + left.count
        elif right is not None and right.parent is not None:
            self.parent, self.index = right.parent, 0 if right.parent == container.node else right.index
        else:
            self.parent, self.index = container.node, 0
        beyond = self.parent.len(txn)
        if right is not None and right.parent == self.parent:
            beyond = right.index
        self.empties = [
            one for one in container.empties if one.parent == self.parent and self.index <= one.index < beyond
        ]
        if container.kind in ITEMS and not self.index:
            self.index = beyond  # behind the empty paragraph with which an item has to begin
        self.is_first_row = container.kind == TABLE and not place
        kinds = {cell.kind for cell in container.blocks}
        self.cell = HEADER if kinds == {HEADER} else CELL


def _words(block: Block) -> str:
    """What a block says at its beginning."""
    found: list[str] = []
    size = 0
    stack = [block]
    while stack and size < _LOOK:
        one = stack.pop()
        for span in one.spans:
            found.append(span.text or (span.atom.target if span.atom else ""))
            size += len(found[-1])
        stack += reversed(one.blocks)
    return " ".join(found)[:_LOOK]


def _fits(old: Block, new: Block) -> bool:
    """Whether the one can become the other without another element."""
    if old.kind in CELLS or new.kind in CELLS:
        return old.kind in CELLS and new.kind in CELLS
    return old.kind == new.kind


def _by_kind(mine: list[Block], blocks: list[Block]) -> list[tuple[int, int]]:
    pairs: list[tuple[int, int]] = []
    i = j = 0
    end = diff.Hunk(len(mine), len(mine), len(blocks), len(blocks))
    for a, b, _c, d in [*diff.hunks([one.kind for one in mine], [two.kind for two in blocks]), end]:
        pairs += ((i + n, j + n) for n in range(a - i))
        i, j = b, d
    return pairs


def _set(txn: Any, element: Any, name: str, value: Any) -> None:
    if value is None:
        element.remove_attribute(txn, name)
    else:
        element.insert_attribute(txn, name, value)
