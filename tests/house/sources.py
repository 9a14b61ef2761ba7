"""The modules of the repository, and what they import."""

import ast
import importlib
import pkgutil

PACKAGES = ("dntk_ref", "dntk_fast", "proofs_checks")


def modules():
    for name in PACKAGES:
        package = importlib.import_module(name)
        yield name
        for info in pkgutil.walk_packages(package.__path__, name + "."):
            if not info.name.endswith("__main__"):
                yield info.name


def imported_modules(tree):
    """Every module named in an import statement of the tree, with the depth of the function it stands in."""
    found = []

    def visit(node, inside):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                found.extend((alias.name, inside) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                found.append((("." * child.level) + (child.module or ""), inside))
            visit(child, inside or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef))

    visit(tree, False)
    return found
