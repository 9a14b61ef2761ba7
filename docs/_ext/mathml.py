"""Formulas as MathML, converted while the site is built: no script draws them and no host is asked."""

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml


def inline(writer, node):
    """Write a formula in a line."""
    writer.body.append(tex2mathml(node.astext()))
    raise nodes.SkipNode


def block(writer, node):
    """Write a formula of its own, which scrolls where the page is narrow."""
    writer.body.append(f'<div class="formula">{tex2mathml(node.astext(), as_block=True)}</div>')
    raise nodes.SkipNode


def setup(app):
    """Register the renderer."""
    app.add_html_math_renderer("dntk", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
