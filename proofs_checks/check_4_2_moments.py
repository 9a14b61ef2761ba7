"""Section 4.2: exact first and second moments of random projections, one row of the table after another.

Every map enters through its Gram matrix G = M M^T (P, P), which is rational where M is not: <Au, Av> = u^T G v.
Discrete maps are enumerated completely; Gaussian and other independent entries go through their moments, Haar through
the moments of the sphere (k = 1 and k = P - 1, which at P = 3 is every k).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations, permutations, product
from typing import Any

import numpy as np
from flint import fmpq, fmpq_mat
from hypothesis import strategies as st

from dntk_ref.projection import draw, inner_product_variance, kernel_error_expectation
from proofs_checks import rational as qq
from proofs_checks.instances import drawn, fixed, matrices
from proofs_checks.margin import Margin, all_of, by_reference, equal, sampled
from proofs_checks.proofs import PROOFS
from proofs_checks.statement import Reading, Refutation, Statement, Step, Twin, Verdict

__all__ = ["STATEMENTS", "Moment", "enumerated", "signed_side", "table_row"]

HADAMARD = {2: [[1, 1], [1, -1]], 4: [[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]}


def _sign_matrices(p: int, k: int) -> Iterable[fmpq_mat]:
    for signs in product((-1, 1), repeat=p * k):
        yield fmpq_mat(p, k, signs)


def rademacher(p: int, k: int) -> Iterable[fmpq_mat]:
    """All Gram matrices of +-1/sqrt(k) maps."""
    return (qq.kernel_of(s) * fmpq(1, k) for s in _sign_matrices(p, k))


def sketch(p: int, k: int, columns: list[list[int]]) -> Iterable[fmpq_mat]:
    """All Gram matrices of maps whose P rows are chosen independently from the given ones."""
    scale = fmpq(1, sum(abs(entry) for entry in columns[0]))
    return (qq.kernel_of(qq.mat(choice)) * scale for choice in product(columns, repeat=p))


def _sparse_rows(k: int, supports: list[tuple[int, ...]], one_sign: bool) -> list[list[int]]:
    rows = []
    for support in supports:
        for signs in product((-1, 1), repeat=1 if one_sign else len(support)):
            row = [0] * k
            for place, sign in zip(support, signs * (len(support) if one_sign else 1), strict=True):
                row[place] = sign
            rows.append(row)
    return rows


def count_sketch(p: int, k: int) -> Iterable[fmpq_mat]:
    """One non-zero +-1 per coordinate."""
    return sketch(p, k, _sparse_rows(k, [(i,) for i in range(k)], False))


def sjlt_uniform(p: int, k: int, one_sign: bool = False) -> Iterable[fmpq_mat]:
    """Two non-zeros +-1/sqrt(2) per coordinate at two different places."""
    return sketch(p, k, _sparse_rows(k, list(combinations(range(k), 2)), one_sign))


def sjlt_block(p: int, k: int) -> Iterable[fmpq_mat]:
    """Two non-zeros, one in each half of the k coordinates."""
    return sketch(p, k, _sparse_rows(k, list(product(range(k // 2), range(k // 2, k))), False))


def _srht(p: int, choices: Iterable[tuple[int, ...]]) -> Iterable[fmpq_mat]:
    h, chosen = qq.mat(HADAMARD[p]), list(choices)
    for signs in product((-1, 1), repeat=p):
        d = qq.diagonal(signs)
        for rows in chosen:
            m = d * qq.select(h, range(p), rows)
            yield qq.kernel_of(m) * fmpq(1, len(rows))


def srht(p: int, k: int) -> Iterable[fmpq_mat]:
    """Rows of the Hadamard matrix without replacement."""
    return _srht(p, combinations(range(p), k))


def srht_replace(p: int, k: int) -> Iterable[fmpq_mat]:
    """Rows with replacement."""
    return _srht(p, product(range(p), repeat=k))


def coordinates(p: int, k: int) -> Iterable[fmpq_mat]:
    """Coordinates with replacement."""
    for rows in product(range(p), repeat=k):
        yield qq.diagonal([fmpq(p * rows.count(i), k) for i in range(p)])


def subset_coordinates(p: int, k: int) -> Iterable[fmpq_mat]:
    """Coordinates without replacement."""
    for rows in combinations(range(p), k):
        yield qq.diagonal([fmpq(p, k) if i in rows else 0 for i in range(p)])


def contiguous(p: int, k: int) -> Iterable[fmpq_mat]:
    """One sign per coordinate, at (i + shift of its run) mod k: runs of k coordinates, a uniform shift for each."""
    for shifts in product(range(k), repeat=-(-p // k)):
        for signs in product((-1, 1), repeat=p):
            rows = [[signs[i] * int(j == (i + shifts[i // k]) % k) for j in range(k)] for i in range(p)]
            yield qq.kernel_of(qq.mat(rows))


def tensor_sketch(p: int, k: int) -> Iterable[fmpq_mat]:
    """A matrix of p/2 rows and 2 columns: signs s(i) t(j), buckets h(i) + g(j) mod k, h and g bijections in runs of k."""
    rows = range(p // 2)
    pairs = [(i, j) for i, j in combinations(rows, 2) if i // k == j // k]
    hashes = [h for h in product(range(k), repeat=p // 2) if all(h[i] != h[j] for i, j in pairs)]
    for h, g in product(hashes, permutations(range(k), 2)):
        for signs in product((-1, 1), repeat=p // 2 + 2):
            bucket = [(h[i] + g[j]) % k for i in rows for j in range(2)]
            sign = [signs[i] * signs[p // 2 + j] for i in rows for j in range(2)]
            yield qq.kernel_of(qq.mat([[x * int(b == c) for c in range(k)] for x, b in zip(sign, bucket, strict=True)]))


ENUMERATED = {
    "contiguous": contiguous,
    "tensorsketch": tensor_sketch,
    "rademacher": rademacher,
    "countsketch": count_sketch,
    "sjlt_uniform": sjlt_uniform,
    "sjlt_block": sjlt_block,
    "sjlt_one_sign": lambda p, k: sjlt_uniform(p, k, True),
    "srht": srht,
    "srht_replace": srht_replace,
    "coordinates": coordinates,
    "subset": subset_coordinates,
}
Tensor = dict[tuple[int, int, int, int], fmpq]


@lru_cache(maxsize=64)
def enumerated(kind: str, p: int, k: int) -> tuple[fmpq_mat, ...]:
    """Every equally likely Gram matrix of a discrete map."""
    return tuple(ENUMERATED[kind](p, k))


def _pairing(a: int, b: int, c: int, d: int, fourth: fmpq) -> fmpq:
    """E x_a x_b x_c x_d for independent entries with variance 1 and the given fourth moment."""
    if a == b == c == d:
        return fourth
    return fmpq((a == b and c == d) + (a == c and b == d) + (a == d and b == c))


def _independent(p: int, k: int, kurtosis: fmpq) -> Tensor:
    """E[G_ab G_cd] for G the mean of k independent x x^T."""
    indices = product(range(p), repeat=4)
    return {
        (a, b, c, d): (_pairing(a, b, c, d, kurtosis) + (k - 1) * fmpq(int(a == b and c == d))) / k
        for a, b, c, d in indices
    }


def _haar(p: int, k: int) -> Tensor:
    """E[G_ab G_cd], G = (P/k) Q Q^T, from q uniform on the sphere: Q Q^T = q q^T for k = 1, I - q q^T for k = P - 1."""
    found: Tensor = {}
    for a, b, c, d in product(range(p), repeat=4):
        sphere = _pairing(a, b, c, d, fmpq(3)) / (p * (p + 2))
        ab, cd = fmpq(int(a == b)), fmpq(int(c == d))
        value = sphere if k == 1 else ab * cd - ab * cd / p * 2 + sphere
        found[a, b, c, d] = value * fmpq(p, k) ** 2
    return found


@lru_cache(maxsize=64)
def tensor(kind: str, p: int, k: int) -> Tensor:
    """E[G_ab G_cd] of a map."""
    if kind == "haar":
        if k not in (1, p - 1):
            raise ValueError(f"k: expected 1 or P - 1, got {k}")
        return _haar(p, k)
    if kind in ("gaussian", "achlioptas"):
        return _independent(p, k, fmpq(3) if kind == "gaussian" else fmpq(5))
    grams = enumerated(kind, p, k)
    return {
        (a, b, c, d): sum((g[a, b] * g[c, d] for g in grams), fmpq(0)) / len(grams)
        for a, b, c, d in product(range(p), repeat=4)
    }


def mean_gram(kind: str, p: int, k: int) -> fmpq_mat:
    """E G."""
    if kind in ("gaussian", "achlioptas"):  # independent entries of variance 1/k, by definition
        return qq.identity(p)
    if kind == "haar":  # tr G = P surely, so E G_ab = sum_c E[G_ab G_cc] / P
        found = tensor(kind, p, k)
        return fmpq_mat(
            p, p, [sum((found[a, b, c, c] for c in range(p)), fmpq(0)) / p for a in range(p) for b in range(p)]
        )
    total = qq.zeros(p, p)
    for g in enumerated(kind, p, k):
        total += g
    return total * fmpq(1, len(enumerated(kind, p, k)))


@dataclass(frozen=True)
class Moment:
    """A kind of map, its width, and two vectors (P, 1)."""

    kind: str
    k: int
    u: fmpq_mat
    v: fmpq_mat

    @property
    def p(self) -> int:
        """Number of coordinates."""
        return self.u.nrows()

    @property
    def inner(self) -> fmpq:
        """<u, v>."""
        return qq.dot(self.u, self.v)

    @property
    def v0(self) -> fmpq:
        """|u|^2 |v|^2 + <u, v>^2."""
        return qq.norm2(self.u) * qq.norm2(self.v) + self.inner**2

    @property
    def d(self) -> fmpq:
        """Sum u_i^2 v_i^2."""
        return sum((a * a * b * b for a, b in zip(self.u.entries(), self.v.entries(), strict=True)), fmpq(0))

    @property
    def variance(self) -> fmpq:
        """Var <Au, Av>, from the fourth-order moments of the map."""
        u, v = self.u.entries(), self.v.entries()
        found = sum(
            (u[a] * v[b] * u[c] * v[d] * value for (a, b, c, d), value in tensor(self.kind, self.p, self.k).items()),
            fmpq(0),
        )
        return found - self.inner**2


@st.composite
def moments(draw: Any, kind: str, sizes: tuple[tuple[int, int], ...]) -> Moment:
    """Draw two vectors for a map of one of the given sizes (P, k)."""
    p, k = draw(st.sampled_from(sizes))
    return Moment(kind, k, draw(matrices(p, 1)), draw(matrices(p, 1)))


def row(case: Moment, *, formula: Callable) -> Margin:
    """The map is unbiased and its inner products have the variance of the table."""
    return all_of(equal(mean_gram(case.kind, case.p, case.k), qq.identity(case.p)), equal(case.variance, formula(case)))


def simulated(case: tuple[str, int, int, int], *, factor: float) -> Margin:
    """dntk_ref's own draws against dntk_ref's variance: 4,000 maps, the mean of (<Au, Av> - <u, v>)^2."""
    kind, p, k, seed = case
    rng = np.random.default_rng(seed)
    u, v = rng.standard_normal(p), rng.standard_normal(p)
    squares = []
    for _ in range(4000):
        m = draw(kind, p, k, rng=rng)
        squares.append(((u @ m) @ (v @ m) - u @ v) ** 2)
    return sampled(np.array(squares), factor * inner_product_variance(kind, u, v, k))


def table_row(
    label: str,
    title: str,
    formula: str,
    kinds: tuple[tuple[str, tuple[tuple[int, int], ...]], ...],
    side: Callable,
    twins: tuple[Twin, ...],
    reference: tuple[str, ...] = (),
) -> Statement:
    """Return a row of the table: every map of the given sizes, and dntk_ref's variance and draws where it has them."""
    steps = [
        Step(
            claim=f"{kind}: every map of size (P, k) in {sizes}",
            check=row,
            cases=drawn(moments(kind, sizes), 0.5),
            twins=twins,
            sides={"formula": side},
        )
        for kind, sizes in kinds
    ]
    for kind in reference:
        sizes = dict(kinds)[kind]
        steps.append(
            Step(
                claim=f"dntk_ref's variance of {kind}",
                check=by_reference,
                cases=drawn(moments(kind, sizes), 0.5),
                twins=(
                    Twin("V0 for the table's term, halved", {"exact": lambda c: (c.v0 + 1) / (2 * c.k)}),
                    Twin("doubled", {"exact": lambda c: 2 * side(c) + c.v0 / 10}),
                ),
                sides={"reference": _reference_variance, "exact": side, "scale": lambda c: float(c.p * c.v0 + c.d)},
            )
        )
        p, k = (8, 3) if kind != "haar" else (6, 3)
        steps.append(
            Step(
                claim=f"dntk_ref's draws of {kind}, simulated",
                check=simulated,
                cases=fixed((kind, p, 4 if "sjlt" in kind else k, 7)),
                twins=(
                    Twin("variance doubled", {"factor": 2.0}),
                    Twin("variance halved", {"factor": 0.5}),
                ),
                sides={"factor": 1.0},
            )
        )
    return Statement(
        label=label,
        row=title,
        readings=(
            Reading(
                key="as stated",
                formula=formula,
                verdict=Verdict.HOLDS,
                proof=PROOFS[label, "as stated"],
                steps=tuple(steps),
            ),
        ),
        table=2,
    )


def _reference_variance(case: Moment) -> float:
    extra = {"sparsity": 5.0} if case.kind == "achlioptas" else {}
    return inner_product_variance(case.kind, qq.floats(case.u)[:, 0], qq.floats(case.v)[:, 0], case.k, **extra)


def gaussian_side(c: Moment) -> fmpq:
    """V0 / k."""
    return c.v0 / c.k


def signed_side(c: Moment) -> fmpq:
    """(V0 - 2 D) / k."""
    return (c.v0 - 2 * c.d) / c.k


def without_side(c: Moment) -> fmpq:
    """(P - k) / (P - 1) times (V0 - 2 D) / k."""
    return fmpq(c.p - c.k, c.p - 1) * signed_side(c)


def haar_side(c: Moment) -> fmpq:
    """P (P - k) / (k (P - 1) (P + 2)) (|u|^2 |v|^2 + (1 - 2/P) <u, v>^2)."""
    front = fmpq(c.p * (c.p - c.k), c.k * (c.p - 1) * (c.p + 2))
    return front * (qq.norm2(c.u) * qq.norm2(c.v) + (1 - fmpq(2, c.p)) * c.inner**2)


WIDER = Twin("k + 1 for k", {"formula": lambda c: gaussian_side(replace(c, k=c.k + 1))})
PLAIN = Twin("V0 / k", {"formula": gaussian_side})
SIGNED = Twin("(V0 - 2 D) / k", {"formula": signed_side})
ONE_D = Twin("V0 - D", {"formula": lambda c: (c.v0 - c.d) / c.k})
SMALL, FOUR = ((3, 1), (3, 2), (4, 3)), ((4, 1), (4, 2), (4, 3))
ROWS = (
    table_row(
        "moments_gaussian",
        "moments: Gaussian",
        r"\mathrm{Var}\langle Au,Av\rangle=V_0/k",
        (("gaussian", SMALL),),
        gaussian_side,
        (WIDER, SIGNED),
        ("gaussian",),
    ),
    table_row(
        "moments_iid",
        "moments: i.i.d. entries, kurtosis",
        r"\mathrm{Var}\langle Au,Av\rangle=(V_0+(\kappa-3)D)/k",
        (("achlioptas", SMALL),),
        lambda c: (c.v0 + 2 * c.d) / c.k,
        (PLAIN, SIGNED),
    ),
    table_row(
        "moments_rademacher",
        "moments: Rademacher",
        r"\mathrm{Var}\langle Au,Av\rangle=(V_0-2D)/k",
        (("rademacher", ((3, 1), (3, 2), (2, 3))),),
        signed_side,
        (PLAIN, ONE_D),
        ("rademacher",),
    ),
    table_row(
        "moments_countsketch",
        "moments: CountSketch; SJLT",
        r"\mathrm{Var}\langle Au,Av\rangle=(V_0-2D)/k",
        (
            ("countsketch", ((3, 2), (3, 3), (4, 2))),
            ("sjlt_uniform", ((2, 3), (2, 4), (3, 3))),
            ("sjlt_block", ((2, 4), (3, 4))),
        ),
        signed_side,
        (PLAIN, ONE_D),
        ("countsketch",),
    ),
    table_row(
        "moments_srht_with",
        "moments: SRHT, rows with replacement",
        r"\mathrm{Var}\langle Au,Av\rangle=(V_0-2D)/k",
        (("srht_replace", ((2, 1), (4, 1), (4, 2))),),
        signed_side,
        (PLAIN, ONE_D),
        ("srht_replace",),
    ),
    table_row(
        "moments_srht_without",
        "moments: SRHT, rows without replacement",
        r"\mathrm{Var}\langle Au,Av\rangle=\frac{P-k}{P-1}(V_0-2D)/k",
        (("srht", FOUR),),
        without_side,
        (SIGNED, PLAIN),
        ("srht",),
    ),
    table_row(
        "moments_haar",
        "moments: Haar",
        r"\mathrm{Var}\langle Au,Av\rangle=\frac{P(P-k)}{k(P-1)(P+2)}(\|u\|^2\|v\|^2+(1-\frac{2}{P})\langle "
        r"u,v\rangle^2)",
        (("haar", ((3, 1), (3, 2), (4, 1), (4, 3))),),
        haar_side,
        (
            PLAIN,
            Twin(
                "1 for 1 - 2/P",
                {"formula": lambda c: haar_side(c) + c.inner**2 * fmpq(c.p - c.k, c.k * (c.p - 1) * (c.p + 2)) * 2},
            ),
        ),
        ("haar",),
    ),
    table_row(
        "moments_coordinates",
        "moments: coordinate sampling",
        r"\mathrm{Var}\langle Au,Av\rangle=(PD-\langle u,v\rangle^2)/k",
        (("coordinates", ((3, 1), (3, 2), (4, 2))),),
        lambda c: (c.p * c.d - c.inner**2) / c.k,
        (PLAIN, Twin("D for P D", {"formula": lambda c: (c.d - c.inner**2) / c.k})),
    ),
)

ONE_SIGN = Moment("sjlt_one_sign", 3, qq.column([1, 0]), qq.column([0, 1]))
SIGNS = Statement(
    label="moments_sjlt_signs",
    row="SJLT needs an independent sign for each non-zero (section 12, item 8)",
    readings=(
        Reading(
            key="one sign per column",
            formula=r"\mathrm{Var}\langle Au,Av\rangle=(V_0-2D)/k",
            verdict=Verdict.FAILS,
            refutations=(
                Refutation(
                    name="one sign per column",
                    check=row,
                    case=ONE_SIGN,
                    controls=(
                        Twin("a sign for each non-zero", cases=fixed(replace(ONE_SIGN, kind="sjlt_uniform"))),
                        Twin("its own variance", {"formula": lambda c: c.variance}),
                    ),
                    printed={"formula": signed_side},
                    left="1/2",
                    right="1/3",
                    search=moments("sjlt_one_sign", ((2, 3), (3, 3))),
                ),
            ),
        ),
    ),
    table=2,
)


@dataclass(frozen=True)
class Whole:
    """A kind of map, its width, and features (n, P)."""

    kind: str
    k: int
    phi: fmpq_mat

    @property
    def parts(self) -> tuple[fmpq, fmpq, fmpq]:
        """(tr K)^2, |K|_F^2, |diag(Phi^T Phi)|^2."""
        kernel, gram = qq.kernel_of(self.phi), self.phi.transpose() * self.phi
        return (
            qq.trace(kernel) ** 2,
            qq.frobenius2(kernel),
            sum((gram[i, i] ** 2 for i in range(gram.nrows())), fmpq(0)),
        )


def kernel_error(case: Whole, *, formula: Callable) -> Margin:
    """E |K~ - K|_F^2, summed over all pairs of rows, is the whole-kernel formula."""
    rows = [qq.column(row) for row in case.phi.tolist()]
    total = sum((Moment(case.kind, case.k, u, v).variance for u in rows for v in rows), fmpq(0))
    return equal(total, formula(case))


def whole_side(case: Whole) -> fmpq:
    """The boxed formulas: Gaussian, Rademacher and sketches, Haar."""
    trace2, frobenius2, overlap = case.parts
    p, k = case.phi.ncols(), case.k
    if case.kind == "haar":
        return fmpq(p * (p - k), k * (p - 1) * (p + 2)) * (trace2 + (1 - fmpq(2, p)) * frobenius2)
    return (trace2 + frobenius2 - (0 if case.kind == "gaussian" else 2 * overlap)) / k


@st.composite
def wholes(draw: Any) -> Whole:
    """Draw features for one of the maps."""
    kind, k = draw(st.sampled_from([("gaussian", 2), ("rademacher", 2), ("countsketch", 2), ("haar", 1), ("haar", 2)]))
    return Whole(kind, k, draw(matrices(draw(st.integers(1, 3)), 3)))


KERNEL = Statement(
    label="moments_kernel",
    row="Whole kernel",
    readings=(
        Reading(
            key="as stated",
            formula=r"E\|\tilde K-K\|_F^2=\frac{1}{k}((\mathrm{tr}K)^2+\|K\|_F^2)\ \mathrm{(Gaussian)},\ \ldots",
            verdict=Verdict.HOLDS,
            proof=PROOFS["moments_kernel", "as stated"],
            steps=(
                Step(
                    claim="Gaussian, Rademacher, CountSketch, Haar",
                    check=kernel_error,
                    cases=drawn(wholes(), 0.5),
                    twins=(
                        Twin(
                            "trace not squared",
                            {"formula": lambda c: whole_side(c) + qq.trace(qq.kernel_of(c.phi)) / c.k},
                        ),
                        Twin("Gaussian formula for all", {"formula": lambda c: (c.parts[0] + c.parts[1]) / c.k}),
                    ),
                    sides={"formula": whole_side},
                ),
                Step(
                    claim="dntk_ref computes it",
                    check=by_reference,
                    cases=drawn(wholes(), 0.5),
                    twins=(
                        Twin("Gaussian formula for all", {"exact": lambda c: (c.parts[0] + c.parts[1]) / c.k}),
                        Twin("doubled", {"exact": lambda c: 2 * whole_side(c) + c.parts[0] / 10}),
                    ),
                    sides={
                        "reference": lambda c: kernel_error_expectation(c.kind, qq.floats(c.phi), c.k),
                        "exact": whole_side,
                        "scale": lambda c: float(3 * c.parts[0]),
                    },
                ),
            ),
        ),
    ),
    table=2,
)

STATEMENTS = (*ROWS, SIGNS, KERNEL)
