"""Proofs for every dimension: a free *-algebra with hypotheses, certificates as sums of squares, moments of random maps.

README.md in this folder is the page to read first: what is taken for granted, what a certificate is, and why a proof in
the algebra is a proof for matrices of every size. The trusted core is `words.py` and `theory.py`.
"""

__all__: list[str] = []
