"""The house's docstrings as reStructuredText: prose taken literally, sections as definition lists, examples as they are."""

import re

EXAMPLES = ("Example", "Examples")
SECTIONS = ("Parameters", "Attributes", "Returns", "Yields", "Raises", *EXAMPLES)
SPECIAL = re.compile(r"([\\*|_`])")
CODE = re.compile(r"(`[^`]+`)")
BULLET = re.compile(r"\s*[*-] ")


def literal(text):
    r"""Prose with its markup escaped and words in backticks as code, a blank that is not shown where they touch.

    >>> literal("`lg_3`s: |K|_F")
    '``lg_3``\\ s: \\|K\\|\\_F'
    """
    out = ""
    for at, part in enumerate(CODE.split(text)):
        if part:
            shown = f"``{part.strip('`')}``" if at % 2 else SPECIAL.sub(r"\\\1", part)
            touch = out and not out[-1].isspace() and not shown[0].isspace()
            out += "\\ " + shown if touch else shown
    return out


def converted(lines):
    """The lines of a docstring as reStructuredText: sections, examples, lists and paragraphs, one after the other."""
    out, at = [], 0
    while at < len(lines):
        if heads(lines, at):
            end = next((i for i in range(at + 2, len(lines)) if heads(lines, i)), len(lines))
            body, title = lines[at + 2 : end], lines[at].strip()
            out += ["", f".. rubric:: {title}", "", *(converted(body) if title in EXAMPLES else entries(body))]
        else:
            end = next((i for i in range(at + 1, len(lines)) if _ends(lines, at, i)), len(lines))
            out += block(lines[at:end])
        at = end
    return out


def heads(lines, at):
    """Whether a section begins here."""
    rule = at + 1 < len(lines) and re.fullmatch(r"\s*-{3,}\s*", lines[at + 1])
    return bool(rule) and lines[at].strip() in SECTIONS


def _ends(lines, start, at):
    """Whether the block that began at `start` ends before this line: a blank, a section, or the first line of an example."""
    example = lines[at].lstrip().startswith(">>>") and not lines[start].lstrip().startswith(">>>")
    return not lines[at].strip() or heads(lines, at) or example


def block(lines):
    """An example, a list, or a paragraph."""
    lines = [line for line in lines if line.strip()]
    if not lines:
        return []
    indent = len(lines[0]) - len(lines[0].lstrip())
    if lines[0].lstrip().startswith(">>>"):
        return ["", ".. code-block:: pycon", "", *("   " + line[indent:] for line in lines), ""]
    if all(" = " in line for line in lines) and not lines[-1].rstrip().endswith("."):
        return ["", *(f"| {literal(line.strip())}" for line in lines), ""]
    out = []
    for line in lines:
        if BULLET.match(line):
            out += ["", f"* {literal(BULLET.sub('', line, count=1).strip())}"]
        else:
            inside = any(text.startswith("* ") for text in out) and line.startswith(" ")
            out.append(("  " if inside else "") + literal(line.strip()))
    return ["", *out, ""]


def entries(lines):
    """A section's entries, `name : what it is`, each with the lines set in below it."""
    found, example = [], next((i for i, line in enumerate(lines) if line.startswith(">>>")), len(lines))
    for line in lines[:example]:
        if line.strip() and not line.startswith(" "):
            name, colon, text = line.partition(" : ")
            found.append([name, [text] if colon else []])
        elif line.strip() and found:
            found[-1][1].append(line.strip())
    out = []
    for name, text in found:
        term = f"``{name}``" if re.fullmatch(r"[\w*.,\s]+", name) else literal(name)
        out += [term, f"   {_described(text)}", ""] if text else ["", term, ""]
    return out + converted(lines[example:])


def _described(text):
    """What an entry says; where its first line is a type and a sentence follows, the type is set apart."""
    first, *rest = text
    if rest and not rest[0][0].islower() and not first.endswith((",", ";", ":", ".")):
        return (
            f"*{literal(first)}* – {literal(' '.join(rest))}"
            if "`" not in first
            else literal(f"{first}: {' '.join(rest)}")
        )
    return literal(" ".join(text))


def process(app, what, name, obj, options, lines):
    """Replace the lines that autodoc found."""
    lines[:] = converted(lines)


def setup(app):
    """Listen to autodoc."""
    app.connect("autodoc-process-docstring", process)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
