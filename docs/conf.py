"""The site: pages in Markdown, an API reference from the docstrings, formulas as MathML, nothing from another host."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE / "_ext")]

from dntk_ref import __name__ as _  # noqa: E402, F401 - the package documented is the one beside this folder

project, author, copyright = "dntk", "The dntk developers", "The dntk developers; Apache-2.0"
extensions = ["myst_parser", "sphinx.ext.autodoc", "docstrings", "mathml", "pages", "pictures", "public", "hosts"]
myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "_ext"]
nitpicky = False
html_theme = "furo"
html_title = "dntk"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = html_show_sourcelink = False
html_math_renderer = "dntk"
pygments_style, pygments_dark_style = "friendly", "monokai"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True}
python_use_unqualified_type_names = True
