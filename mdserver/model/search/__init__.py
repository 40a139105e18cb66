"""Full-text search over documents. The only writer of search_workspaces, search_documents, search_parts and the index.

The index is derived from the documents and follows the change log (`indexer`); what it has not seen is looked through
directly (`waiting`); every hit is judged by the live rows (`finding`). `fts` and `vectors` are the engines' indexes.
"""

from .finding import search
from .indexer import Indexer, bring_up, rebuild, upkeep
from .shape import FIELDS, Field, Filter, Found, Key, Match
from .verifying import verify

__all__ = [
    "FIELDS",
    "Field",
    "Filter",
    "Found",
    "Indexer",
    "Key",
    "Match",
    "bring_up",
    "rebuild",
    "search",
    "upkeep",
    "verify",
]
