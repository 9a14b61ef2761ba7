"""The API reference: the public names of `dntk_fast` by room, and arrays by the names that the sources give them."""

import ast
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList
from numpy.typing import ArrayLike
from sphinx.util.typing import stringify_annotation

from dntk_ref._check import Array, IntArray

ARRAYS = {"Array": Array, "IntArray": IntArray}
ROOT = Path(__file__).resolve().parents[2]
# The sources call arrays by these names; what stands behind them would fill a page.
NAMES = {stringify_annotation(kind, "smart"): name for name, kind in (("ArrayLike", ArrayLike), *ARRAYS.items())}


def shorter(app, what, name, obj, options, signature, returned):
    """Call arrays by the names that the sources give them."""
    texts = [signature, returned]
    for long, short in NAMES.items():
        texts = [text and text.replace(long, short) for text in texts]
    return tuple(texts)


def public_names():
    """Module -> the names of `dntk_fast` that it defines, in the order of the package's table of contents."""
    tree = ast.parse((ROOT / "dntk_fast" / "__init__.pyi").read_text(encoding="utf-8"))
    return {line.module: [alias.name for alias in line.names] for line in tree.body if isinstance(line, ast.ImportFrom)}


class Names(Directive):
    """The public names of `dntk_fast` that a room or a module defines, each with its docstring."""

    required_arguments = 1

    def run(self):
        """Return what autodoc makes of them."""
        room = self.arguments[0]
        lines = []
        for module, names in public_names().items():
            if module == room or module.startswith(room + "."):
                for name in names:
                    kind = "autoclass" if name[0].isupper() else "autofunction"
                    lines += [f".. {kind}:: dntk_fast.{name}", ""]
        if not lines:
            raise self.error(f"no public name of dntk_fast is defined in {room}")
        holder = nodes.section(ids=[nodes.make_id(room)])
        self.state.nested_parse(StringList(lines, source=room), self.content_offset, holder)
        return holder.children


def setup(app):
    """Register the directive and listen to autodoc."""
    app.add_directive("names", Names)
    app.connect("autodoc-process-signature", shorter)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
