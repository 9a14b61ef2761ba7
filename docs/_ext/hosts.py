"""No page and no style loads anything from another host: the build ends where one would."""

import re
from pathlib import Path

from sphinx.errors import ExtensionError

OUTSIDE = re.compile(
    r"""<(?:script|link|img|iframe|source)\b[^>]*\b(?:src|href)=["']?(?:https?:)?//"""
    r"""|@import|url\(["']?(?:https?:)?//"""
)


def refuse_other_hosts(app, failed):
    """End the build with the names of such pages."""
    if failed is None and app.builder.name == "html":
        made = (path for path in Path(app.outdir).rglob("*") if path.suffix in (".html", ".css"))
        asking = [path.name for path in made if OUTSIDE.search(path.read_text(encoding="utf-8"))]
        if asking:
            raise ExtensionError(f"pages that ask another host: {asking}")


def setup(app):
    """Look at what was built."""
    app.connect("build-finished", refuse_other_hosts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
