"""Section 4.2, continued: the maps that add gradients where they lie, contiguous maps and TensorSketch.

Their hashes are bijections inside runs of k coordinates, so coordinates of one run never meet. That is below CountSketch's
variance; a TensorSketch, whose signs are shared by rows and columns, may be above it.
"""

from flint import fmpq

from proofs_checks.check_4_2_moments import Moment, signed_side, table_row
from proofs_checks.statement import Twin

__all__ = ["STATEMENTS"]


def contiguous_side(c: Moment) -> fmpq:
    """(V0 - sum over runs of V0_r) / k, a run being k coordinates."""
    u, v = c.u.entries(), c.v.entries()
    total = c.v0
    for start in range(0, c.p, c.k):
        a, b = u[start : start + c.k], v[start : start + c.k]
        inner = sum((x * y for x, y in zip(a, b, strict=True)), fmpq(0))
        total -= sum((x * x for x in a), fmpq(0)) * sum((y * y for y in b), fmpq(0)) + inner**2
    return total / c.k


def _chances(same: bool, k: int) -> tuple[fmpq, dict[int, fmpq]]:
    """Return the chance that two hashes agree, and the law of their difference: rows of one run, or of two."""
    if same:
        return fmpq(0), {d: fmpq(int(d != 0), k - 1) for d in range(k)}
    return fmpq(1, k), {d: fmpq(1, k) for d in range(k)}


def tensor_side(c: Moment) -> fmpq:
    """The sum over pairs of rows and pairs of columns; two columns, in one run."""
    rows, k = c.p // 2, c.k
    u, v = ([x.entries()[2 * i : 2 * i + 2] for i in range(rows)] for x in (c.u, c.v))
    column, step = _chances(True, k)
    cross = sum((u[i][0] * v[i][1] + v[i][0] * u[i][1] for i in range(rows)), fmpq(0))
    total = column * cross**2
    for i in range(rows):
        for m in range(i):
            row, difference = _chances(i // k == m // k, k)
            total += row * sum((u[i][j] * v[m][j] + v[i][j] * u[m][j] for j in range(2)), fmpq(0)) ** 2
            q = sum((difference[d] * step[-d % k] for d in range(k)), fmpq(0))
            both = sum((difference[d] * step[-d % k] for d in range(k) if 2 * d % k == 0), fmpq(0))
            x = u[i][0] * v[m][1] + u[m][1] * v[i][0]
            y = u[i][1] * v[m][0] + u[m][0] * v[i][1]
            total += q * (x * x + y * y) + 2 * both * x * y
    return total


STATEMENTS = (
    table_row(
        "moments_contiguous",
        "moments: contiguous map",
        r"\mathrm{Var}\langle Au,Av\rangle=(V_0-\sum_rV_{0,r})/k,\quad r\ \mathrm{runs\ of\ }k\ \mathrm{coordinates}",
        (("contiguous", ((3, 2), (4, 2), (5, 2), (5, 3))),),
        contiguous_side,
        (
            Twin("CountSketch's", {"formula": signed_side}),
            Twin("halved", {"formula": lambda c: contiguous_side(c) / 2}),
        ),
    ),
    table_row(
        "moments_tensorsketch",
        "moments: TensorSketch",
        r"\mathrm{Var}=\sum_{j<l}p(U^TV+V^TU)_{jl}^2+\sum_{i<m}p(UV^T+VU^T)_{im}^2"
        r"+\sum_{i<m,j<l}[q(X^2+Y^2)+2q_2XY]",
        (("tensorsketch", ((4, 2), (6, 2), (6, 3))),),
        tensor_side,
        (Twin("CountSketch's", {"formula": signed_side}), Twin("halved", {"formula": lambda c: tensor_side(c) / 2})),
    ),
)
