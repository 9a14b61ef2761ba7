"""A numeric model of the hypotheses: every letter a float64 matrix, every symbol a number. Not part of the trusted core.

It proves nothing. It shows that the hypotheses can be met, and that a wrong variant is false where they are.
"""

import numpy as np

from proofs_checks.algebra.words import ONE, Matrix, Scalar, Symbol, Word

__all__ = ["Model"]

# Hypotheses are computed by a few float64 solves of well-conditioned matrices of at most 8 rows.
CLOSE = 1e-8
# A wrong variant has to be wrong by far more than that.
APART = 1e-4


class Model:
    """Values of letters and symbols, and the sizes that follow from them."""

    def __init__(self) -> None:
        self.matrices: dict[str, np.ndarray] = {}
        self.numbers: dict[str, float] = {}

    def size(self, name: str) -> int:
        """Return the number that a size stands for."""
        return 1 if name == ONE else int(self.numbers[name])

    def put(self, name: str, rows: str, cols: str, value: object) -> None:
        """Set a letter; its shape fixes or must match the sizes."""
        array = np.asarray(value, float)
        array = array.reshape(-1, 1) if cols == ONE else array
        for size, number in zip((rows, cols), array.shape, strict=True):
            if size != ONE and self.numbers.setdefault(size, float(number)) != number:
                raise ValueError(f"{name}: expected {self.numbers[size]:.0f} for the size {size}, got {number}")
        self.matrices[name] = array

    def word(self, word: Word, rows: str) -> np.ndarray:
        """Return the product of a word."""
        result = np.eye(self.size(rows))
        for letter in word:
            array = self.matrices[letter.name]
            result = result @ (array.T if letter.starred else array)
        return result

    def scalar(self, value: Scalar) -> float:
        """Return the number that a scalar stands for."""
        total = 0.0
        for monomial, c in value.terms.items():
            part = float(c)
            for generator, power in monomial:
                if isinstance(generator, Symbol):
                    part *= self.numbers[generator.name] ** power
                else:
                    part *= float(np.trace(self.word(generator.word, generator.word[0].rows))) ** power
            total += part
        return total

    def matrix(self, value: Matrix) -> np.ndarray:
        """Return the array that a matrix stands for."""
        total = np.zeros((self.size(value.rows), self.size(value.cols)))
        for word, c in value.terms.items():
            total += self.scalar(c) * self.word(word, value.rows)
        return total

    def excess(self, left: Matrix | Scalar, right: Matrix | Scalar | int, *, equality: bool) -> float:
        """Return by how much left = right, or left <= right, is missed (0 or less where it holds)."""
        gap = left - right
        if isinstance(gap, Scalar):
            number = self.scalar(gap)
            return abs(number) if equality else number
        array = self.matrix(gap)
        return float(np.abs(array).max()) if equality else float(np.linalg.eigvalsh((array + array.T) / 2)[-1])
