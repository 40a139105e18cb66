"""Documents and the tree they stand in. The only writer of documents, document_texts, document_tags and favourites."""

from .copying import Source, copy, drafts, source
from .listing import Filter, Sort, page, tree
from .making import Draft, check_id, check_title, create, draft, project
from .marks import archive, check_tags, favour, make_template, retitle, set_tags, workspace_tags
from .places import move, rename_file, touch
from .shape import (
    Document,
    DocumentWithContent,
    Kind,
    TreeItem,
    by_path,
    content_tag,
    find,
    find_tag,
    find_with_content,
    full_tag,
    require_live,
    require_text,
)
from .trash import empty, purge, restore, trash

__all__ = [
    "Document",
    "DocumentWithContent",
    "Draft",
    "Filter",
    "Kind",
    "Sort",
    "Source",
    "TreeItem",
    "archive",
    "by_path",
    "check_id",
    "check_tags",
    "check_title",
    "content_tag",
    "copy",
    "create",
    "draft",
    "drafts",
    "empty",
    "favour",
    "find",
    "find_tag",
    "find_with_content",
    "full_tag",
    "make_template",
    "move",
    "page",
    "project",
    "purge",
    "rename_file",
    "require_live",
    "require_text",
    "restore",
    "retitle",
    "set_tags",
    "source",
    "touch",
    "trash",
    "tree",
    "workspace_tags",
]
