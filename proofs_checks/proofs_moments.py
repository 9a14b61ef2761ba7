"""Certificates of section 4.2 and 9.1: exact moments of random maps, laws of norms, concentration."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import combinations, permutations, product

import numpy as np
import sympy as sp

from proofs_checks.algebra.argument import Argument, Certificate, Line
from proofs_checks.algebra.calculus import Calculation
from proofs_checks.algebra.moments import (
    Law,
    Sum,
    block_sparse,
    contiguous,
    coordinates,
    count_sketch,
    expected,
    first,
    haar,
    independent,
    sparse,
    srht,
    tensor_sketch,
)
from proofs_checks.algebra.proof import CHERNOFF, GAUSSIAN, JENSEN, MCDIARMID, Kind, Proof
from proofs_checks.algebra.words import sq

__all__ = ["PROOFS", "chi_squared", "cubic"]

k, P, s, kappa, N = sp.symbols("k P s kappa N", positive=True)
Draw = tuple[float, np.ndarray]
HADAMARD = np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]) / 2


def entries(p: int, width: int, nodes: dict[float, float]) -> Iterator[Draw]:
    """Yield every map with independent entries of a finite law, scaled by 1/sqrt(k), with its weight."""
    for chosen in product(nodes.items(), repeat=p * width):
        weight = float(np.prod([x[1] for x in chosen]))
        yield weight, np.array([x[0] for x in chosen]).reshape(width, p) / np.sqrt(width)


def columns(p: int, choices: list[np.ndarray]) -> Iterator[Draw]:
    """Yield every map with independent columns from a list."""
    for chosen in product(choices, repeat=p):
        yield len(choices) ** -float(p), np.column_stack(chosen)


def unit(width: int, places: Iterable[int], signs: Iterable[float]) -> np.ndarray:
    """Return a column."""
    column = np.zeros(width)
    column[list(places)] = list(signs)
    return column


def signed(width: int, supports: list[tuple[int, ...]]) -> list[np.ndarray]:
    """Return the columns with signs over sqrt(s) on given supports."""
    size = len(supports[0])
    return [unit(width, p, np.array(x) / np.sqrt(size)) for p in supports for x in product((-1, 1), repeat=size)]


def hadamard(rows: list[tuple[int, ...]]) -> Iterator[Draw]:
    """Yield every subsampled Hadamard map of four coordinates."""
    for chosen in rows:
        for signs in product((-1, 1), repeat=4):
            weight = 1 / (16 * len(rows))
            yield weight, np.sqrt(4 / len(chosen)) * HADAMARD[list(chosen)] * np.array(signs)


def sphere() -> Iterator[Draw]:
    """Yield Haar maps of width 1 in three dimensions at the corners of an icosahedron: exact for degree 5."""
    g = (1 + 5**0.5) / 2
    for x, y in product((-1, 1), (-g, g)):
        for shift in range(3):
            yield 1 / 12, np.sqrt(3) * np.roll([0, x, y], shift)[None] / np.sqrt(1 + g * g)


def rows_of(p: int, width: int) -> Iterator[Draw]:
    """Yield every sample of coordinates with replacement."""
    for chosen in product(range(p), repeat=width):
        yield p**-width, np.sqrt(p / width) * np.eye(p)[list(chosen)]


def shifted() -> Iterator[Draw]:
    """Yield every contiguous map of five coordinates into two: runs of two, a shift for each."""
    for shifts in product(range(2), repeat=3):
        for signs in product((-1, 1), repeat=5):
            found = np.zeros((2, 5))
            for i in range(5):
                found[(i + shifts[i // 2]) % 2, i] = signs[i]
            yield 1 / 256, found


RUNS = np.array([[float(i // 2 == j // 2) for j in range(5)] for i in range(5)])
GAUSS = {0.0: 2 / 3, 3**0.5: 1 / 6, -(3**0.5): 1 / 6}  # moments of the normal law up to the fifth
SIGNS = {1.0: 0.5, -1.0: 0.5}
HEAVY = {0.0: 0.8, 5**0.5: 0.1, -(5**0.5): 0.1}  # Achlioptas with sparsity 5
MAPS: dict[str, tuple[Law, Callable[[], Iterator[Draw]], dict]] = {
    "gaussian": (independent(sp.Integer(3)), partial(entries, 3, 2, GAUSS), {k: 2, P: 3}),
    "iid": (independent(kappa), partial(entries, 3, 2, HEAVY), {k: 2, P: 3, kappa: 5}),
    "rademacher": (independent(sp.Integer(1)), partial(entries, 3, 2, SIGNS), {k: 2, P: 3}),
    "countsketch": (count_sketch, lambda: columns(3, signed(3, [(0,), (1,), (2,)])), {k: 3, P: 3}),
    "sjlt": (sparse, lambda: columns(2, signed(3, list(combinations(range(3), 2)))), {k: 3, P: 2, s: 2}),
    "blocks": (
        block_sparse,
        lambda: columns(2, signed(4, [(a, b) for a in (0, 1) for b in (2, 3)])),
        {k: 4, P: 2, s: 2},
    ),
    "srht_with": (srht(replace=True), lambda: hadamard(list(product(range(4), repeat=2))), {k: 2, P: 4}),
    "srht_without": (srht(replace=False), lambda: hadamard(list(permutations(range(4), 2))), {k: 2, P: 4}),
    "haar": (haar, sphere, {k: 1, P: 3}),
    "coordinates": (coordinates, lambda: rows_of(3, 2), {k: 2, P: 3}),
    "contiguous": (contiguous, shifted, {k: 2, P: 5}),
}
V0 = Sum.of("ui ui vj vj") + Sum.of("ui vi uj vj")
INNER2, D = Sum.of("ui vi uj vj"), Sum.of("ui ui vi vi")
VARIANCE: dict[str, tuple[Sum, Sum]] = {
    "gaussian": (1 / k * V0, 1 / (k + 1) * V0),
    "iid": (1 / k * (V0 + (kappa - 3) * D), 1 / k * (V0 + (kappa - 2) * D)),
    "rademacher": (1 / k * (V0 - 2 * D), 1 / k * V0),
    "countsketch": (1 / k * (V0 - 2 * D), 1 / k * V0),
    "sjlt": (1 / k * (V0 - 2 * D), 1 / k * (V0 - D)),
    "blocks": (1 / k * (V0 - 2 * D), 1 / k * (V0 - D)),
    "srht_with": (1 / k * (V0 - 2 * D), 1 / k * V0),
    "srht_without": ((P - k) / (P - 1) / k * (V0 - 2 * D), (P - k) / P / k * (V0 - 2 * D)),
    "haar": (
        P * (P - k) / (k * (P - 1) * (P + 2)) * (Sum.of("ui ui vj vj") + (1 - 2 / P) * INNER2),
        (P - k) / (k * (P + 2)) * V0,
    ),
    "coordinates": (1 / k * (P * D - INNER2), 1 / k * (P * D)),
    "contiguous": (
        1 / k * (V0 - Sum.of("ui ui vj vj Sij") - Sum.of("ui vi uj vj Sij")),
        1 / k * (V0 - 2 * D),
    ),
}


def variance(calculation: Calculation, name: str) -> None:
    """State that the map is unbiased and that <Au, Av> has the variance of the table."""
    law, draws, numbers = MAPS[name]
    for value, claim, text in zip(first(law), (1, 0), ("diagonal", "off the diagonal"), strict=True):
        calculation.equal(f"{name}: E A^T A is the identity, {text}", value, sp.Integer(claim))
    found = expected("ui vj ul vm", "ijlm", law) - INNER2
    right, wrong = VARIANCE[name]
    rng = np.random.default_rng(3)
    u, v = rng.standard_normal((2, numbers[P]))
    mean = sum(w * ((a @ u) @ (a @ v) - u @ v) ** 2 for w, a in draws())
    arrays = {"u": u, "v": v, "S": RUNS}

    def model(claim: Sum) -> tuple[float, float]:
        return float(mean), claim.value(arrays, numbers)

    calculation.moment(f"{name}: variance of the inner product, for every size", found, right, model)
    calculation.not_moment(f"{name}: another constant", found, wrong, model)


def table(*names: str) -> Certificate:
    calculation = Calculation()
    for name in names:
        variance(calculation, name)
    return calculation.certificate()


TRACE2, FROBENIUS, FOURTH = Sum.of("Fri Fri Ftj Ftj"), Sum.of("Fri Fti Frj Ftj"), Sum.of("Fri Fri Fti Fti")
KERNELS = {
    "gaussian": 1 / k * (TRACE2 + FROBENIUS),
    "rademacher": 1 / k * (TRACE2 + FROBENIUS - 2 * FOURTH),
    "countsketch": 1 / k * (TRACE2 + FROBENIUS - 2 * FOURTH),
    "haar": P * (P - k) / (k * (P - 1) * (P + 2)) * (TRACE2 + (1 - 2 / P) * FROBENIUS),
}


def whole_kernel() -> Certificate:
    calculation = Calculation()
    for name, right in KERNELS.items():
        law, draws, numbers = MAPS[name]
        found = expected("Fri Ftj Frl Ftm", "ijlm", law) - FROBENIUS
        F = np.random.default_rng(5).standard_normal((2, numbers[P]))
        mean = sum(w * float(((F @ a.T @ a @ F.T - F @ F.T) ** 2).sum()) for w, a in draws())

        def model(claim: Sum, mean: float = mean, F: np.ndarray = F, numbers: dict = numbers) -> tuple[float, float]:
            return mean, claim.value({"F": F}, numbers)

        calculation.moment(f"{name}: E |K~ - K|^2", found, right, model)
        calculation.not_moment(f"{name}: without |K|_F^2", found, right - 1 / k * FROBENIUS, model)
    return calculation.certificate()


def probes(name: str, kurtosis: int) -> Certificate:
    """z^T K z for independent entries of z, the mean of N of them: columns of A are sqrt(1/N) times entries of probes."""
    calculation = Calculation()
    found = expected("Kij Klm", "ijlm", independent(sp.Integer(kurtosis))) - Sum.of("Kii Kll")
    right = 2 / k * (Sum.of("Kij Kij") + sp.Rational(kurtosis - 3, 2) * Sum.of("Kii Kii"))
    rng = np.random.default_rng(6)
    K = (lambda x: x @ x.T)(rng.standard_normal((3, 3)))
    nodes = {1: SIGNS, 3: GAUSS}[kurtosis]
    mean = sum(w * (float(np.trace(a @ K @ a.T)) - float(np.trace(K))) ** 2 for w, a in entries(3, 2, nodes))

    def model(claim: Sum) -> tuple[float, float]:
        return float(mean), claim.value({"K": K}, {k: 2})

    calculation.moment(f"{name}, k = N probes: variance of the trace estimate", found, right, model)
    calculation.not_moment("half of it", found, sp.Rational(1, 2) * right, model)
    return calculation.certificate()


def _sketches(hashes: np.ndarray, others: np.ndarray, width: int) -> np.ndarray:
    return (hashes[:, None] + others) % width


def tensor() -> Certificate:
    """The docstring's formula, with p, r, q, z as chances; and those chances for bijections in runs of k."""
    calculation = Calculation()
    found = tensor_sketch() - Sum.of("Uij Vij Ulm Vlm")
    half, quarter = sp.Rational(1, 2), sp.Rational(1, 4)
    first_part = Sum()
    for a, b in product(("Uij Vim", "Vij Uim"), ("Ulj Vlm", "Vlj Ulm")):
        first_part = first_part + Sum.of(f"{a} {b} pjm djm")
    second = Sum()
    for a, b in product(("Uij Vlj", "Vij Ulj"), ("Uim Vlm", "Vim Ulm")):
        second = second + Sum.of(f"{a} {b} ril dil")
    x, y = ("Uij Vlm", "Ulm Vij"), ("Uim Vlj", "Ulj Vim")
    third = Sum()
    for one, two, chance, factor in ((x, x, "q", 1), (y, y, "q", 1), (x, y, "z", 2)):
        for a, b in product(one, two):
            third = third + factor * Sum.of(f"{a} {b} {chance}iljm dil djm")
    right = half * first_part + half * second + quarter * third
    model = _tensor_model()
    calculation.moment("TensorSketch, from the chances of meeting", found, right, model)
    calculation.not_moment("signs taken as independent", found, half * first_part + half * second, model)
    inside, across = 1 / (k - 1), 1 / k
    points = [{k: 4}, {k: 7}]
    calculation.equal(
        "q within both runs: sum over the k - 1 differences", (k - 1) * inside * inside, 1 / (k - 1), points
    )
    calculation.equal("q within one run", (k - 1) * inside * across, 1 / k, points)
    calculation.equal("q across both", k * across * across, 1 / k, points)
    return calculation.certificate()


def _tensor_model() -> Callable[[Sum], tuple[float, float]]:
    rng = np.random.default_rng(8)
    U, V = rng.standard_normal((2, 3, 2))
    runs = [[0, 1], [1, 0]]
    hs, gs = [np.array([*a, c]) for a in runs for c in (0, 1)], [np.array(a) for a in runs]
    mean, p, r, q, z, count = 0.0, np.zeros((2, 2)), np.zeros((3, 3)), np.zeros((3, 3, 2, 2)), np.zeros((3, 3, 2, 2)), 0
    for h, g in product(hs, gs):
        count += 1
        p += g[:, None] == g
        r += h[:, None] == h
        one = (h[:, None] - h)[:, :, None, None] % 2
        ahead, back = (g - g[:, None])[None, None] % 2, (g[:, None] - g)[None, None] % 2
        q += one == ahead
        z += (one == ahead) & (one == back)
        bucket = _sketches(h, g, 2)
        for signs in product((-1, 1), repeat=5):
            sign = np.outer(signs[:3], signs[3:])
            left, right = (np.array([(sign * x)[bucket == b].sum() for b in range(2)]) for x in (U, V))
            mean += float(left @ right - (U * V).sum()) ** 2 / 32
    arrays = {"U": U, "V": V, "p": p / count, "r": r / count, "q": q / count, "z": z / count}

    def model(claim: Sum) -> tuple[float, float]:
        return mean / count, _with_distinct(claim, arrays)

    return model


def _with_distinct(claim: Sum, arrays: dict[str, np.ndarray]) -> float:
    """Evaluate sums whose d is 1 - identity of rows (3) or of columns (2)."""
    total = 0.0
    for factors, c in claim.terms.items():
        rows = {idx[0] for n, idx in factors if n in "UV"}
        local, renamed = dict(arrays), []
        for n, idx in factors:
            if n == "d":
                size = 3 if idx[0] in rows else 2
                local[f"d{size}"] = 1 - np.eye(size)
                renamed.append((f"d{size}", idx))
            elif n in "qz" and idx[0] not in rows:
                renamed.append((n, (idx[2], idx[3], idx[0], idx[1])))
            else:
                renamed.append((n, idx))
        one = Sum()
        one.terms = {tuple(renamed): c}
        total += one.value(local, {})
    return total


eps, t, y, x = (sp.Symbol(name, positive=True) for name in ("epsilon", "t", "y", "x"))
INTERIOR = [0.05, 0.3, 0.6, 0.9]
UNIT_MAP = y / (1 + y)


def chi_squared(c: Calculation) -> None:
    """State the moment generating function of chi^2_k / k and the best exponents of both tails."""
    m = -sp.log(1 - 2 * t) / 2
    c.equal(
        "L = ln E exp(t g^2): E g^2 exp(t g^2) = E (1 + 2 t g^2) exp(t g^2) by parts",
        sp.diff(m, t),
        1 + 2 * t * sp.diff(m, t),
        [{t: 0.1}],
    )
    c.equal("and L(0) = 0; k independent ones add", m.subs(t, 0), sp.Integer(0))
    points = [{eps: 0.3, k: 5}, {eps: 0.8, k: 11}]
    up = -t * k * (1 + eps) - k / 2 * sp.log(1 - 2 * t)
    best = eps / (2 * (1 + eps))
    c.equal("upper tail: stationary", sp.diff(up, t).subs(t, best), sp.Integer(0), points)
    exponent = -k / 2 * (eps - sp.log(1 + eps))
    c.same("its exponent", up.subs(t, best), exponent, eps, points)
    c.not_equal("twice the exponent", up.subs(t, best), 2 * exponent, points)
    down = t * k * (1 - eps) - k / 2 * sp.log(1 + 2 * t)
    best = eps / (2 * (1 - eps))
    c.equal("lower tail: stationary", sp.diff(down, t).subs(t, best), sp.Integer(0), points)
    c.same("its exponent", down.subs(t, best), k / 2 * (eps + sp.log(1 - eps)), eps, points)


def cubic(c: Calculation) -> None:
    """State eps - ln(1 + eps) >= eps^2/2 - eps^3/3, and the same of the lower exponent."""
    c.at_least_zero("upper exponent", eps - sp.log(1 + eps) - eps**2 / 2 + eps**3 / 3, eps, y, INTERIOR)
    c.not_at_least_zero("upper exponent without the cubic term", eps - sp.log(1 + eps) - eps**2 / 2, eps, y, INTERIOR)
    c.at_least_zero("lower exponent", -eps - sp.log(1 - eps) - eps**2 / 2, eps, UNIT_MAP, INTERIOR)


n = sp.Symbol("n", positive=True)


def dasgupta_gupta() -> Certificate:
    c = Calculation()
    chi_squared(c)
    cubic(c)
    width = 4 * sp.log(n) / (eps**2 / 2 - eps**3 / 3)
    points = [{n: 30, eps: 0.4}]
    c.equal(
        "at that width each tail is at most exp(-2 ln n)", width / 2 * (eps**2 / 2 - eps**3 / 3), 2 * sp.log(n), points
    )
    c.equal("union over pairs and tails", n * (n - 1) / 2 * 2 / n**2, 1 - 1 / n, points)
    c.not_equal("one tail of n^-1", n * (n - 1) / 2 * 2 / n, 1 - 1 / n, points)
    return c.certificate()


def simplified_width() -> Certificate:
    c = Calculation()
    chi_squared(c)
    cubic(c)
    width = 8 * sp.log(n) / eps**2
    points = [{n: 30, eps: 0.01}, {n: 8, eps: 0.05}]
    c.equal(
        "upper tail at most n^(-2 + 4 eps / 3)",
        width / 2 * (eps**2 / 2 - eps**3 / 3),
        (2 - 4 * eps / 3) * sp.log(n),
        points,
    )
    c.equal("lower tail at most n^-2", width / 2 * eps**2 / 2, 2 * sp.log(n), points)
    z = sp.Symbol("z", positive=True)
    union = n * (n - 1) / 2 * (z + 1) / n**2
    c.equal(
        "union, z = n^(4 eps / 3): below 1 by (n - 1) / (2 n) ((n + 1) / (n - 1) - z)",
        1 - union,
        (n - 1) / (2 * n) * ((n + 1) / (n - 1) - z),
        [{n: 8, z: 1.05}],
    )
    c.not_equal("by (n - 1) / (2 n) (2 - z)", 1 - union, (n - 1) / (2 * n) * (2 - z), [{n: 8, z: 1.05}])
    return c.certificate()


def _and(calculation: Calculation, argument: Argument) -> Certificate:
    one, two = argument.certificate(), calculation.certificate()
    return Certificate(one.hypotheses + two.hypotheses, one.lines + two.lines, one.wrong + two.wrong)


def trace_law() -> Certificate:
    a = Argument()
    before, b, c, g = (a.nonnegative(name, x) for name, x in (("a", 0.3), ("b", 0.2), ("c", 0.4), ("g", 0.8)))
    a.assume(b, 1 - g, "g = 1 - b, the next factor")
    product_ = (1 - before + c) * g
    a.at_most(
        "upper tail: one more factor 1 - b, the earlier ones 1 - a + c", 1 - before - b, product_, before * b, c * g
    )
    a.wrong("earlier ones without their sum", left=1 + before - b)
    product_ = (1 + before + c) * (1 + b)
    a.at_most("lower tail: one more factor 1 + b", 1 + before + b, product_, c, before * b, c * b)
    calculation = Calculation()
    chi_squared(calculation)
    return _and(calculation, a)


def polarised() -> Certificate:
    a = Argument()
    rng = a.rng
    u, v = rng.standard_normal((2, 3))
    u, v = u / np.linalg.norm(u), v / np.linalg.norm(v)
    A = a.matrix("A", "k", "P", rng.standard_normal((2, 3)))
    p, q = a.vector("u", "P", u), a.vector("v", "P", v)
    rho = a.real(r"\rho", float(u @ v))
    a.assume(p.T * p, 1)
    a.assume(q.T * q, 1)
    a.assume(p.T * q, rho)
    a.identity("polarisation", (A * p).T * (A * q), (sq(A * (p + q)) - sq(A * (p - q))) / 4)
    a.identity("|u + v|^2 = 2 (1 + rho)", sq(p + q), 2 * (1 + rho))
    a.identity("|u - v|^2 = 2 (1 - rho)", sq(p - q), 2 * (1 - rho))
    a.identity("u + v and u - v are orthogonal: A (u + v), A (u - v) are independent", (p + q).T * (p - q), 0 * rho)
    a.wrong("so are u and v", left=p.T * q)
    c = Calculation()
    chi_squared(c)
    r = sp.Symbol("rho", real=True)
    c.equal(
        "variance of the law, 2/k for chi^2_k / k: V0 / k of unit vectors",
        ((1 + r) ** 2 + (1 - r) ** 2) / 4 * 2 / k,
        (1 + r**2) / k,
        [{r: 0.3, k: 4}],
    )
    return _and(c, a)


def isotropic() -> Certificate:
    c = Calculation()
    for name in ("haar", "coordinates", "srht_with", "srht_without", "gaussian"):
        law, draws, numbers = MAPS[name]
        for value, claim, text in zip(first(law), (1, 0), ("diagonal", "off the diagonal"), strict=True):
            c.equal(f"{name}: P/k times E Q Q^T, {text}", value, sp.Integer(claim))
        mean = sum(w * a.T @ a for w, a in draws())
        close = bool(np.abs(mean - np.eye(numbers[P])).max() < 1e-9)
        c.lines.append(Line(f"{name}: the same over all maps of one size", r"E\,A^TA=I", "", True, close))
    c.not_equal("the mean of G is 2 I", first(haar)[0], sp.Integer(2), [{k: 1, P: 3}])
    # Without replacement: k different rows of P; each coordinate is chosen with probability k/P.
    c.equal(
        "k of P coordinates without replacement: C(P-1, k-1) / C(P, k) = k / P",
        sp.gammasimp((sp.binomial(P - 1, k - 1) / sp.binomial(P, k)).rewrite(sp.gamma)),
        k / P,
        [{k: 2, P: 5}],
    )
    return c.certificate()


def halves() -> Certificate:
    a = Argument()
    wx, wy = np.sqrt([0.3, 0.7]), np.sqrt([0.2, 0.5, 0.3])
    x, y_ = a.rng.standard_normal((4, 2)), a.rng.standard_normal((4, 3))
    x, y_ = x - (x @ wx)[:, None] * wx, y_ - (y_ @ wy)[:, None] * wy
    X, Y = a.matrix("X", "q", "M", x), a.matrix("Y", "q", "N", y_)
    e, f = a.vector("e", "M", wx), a.vector("f", "N", wy)
    c = a.vector(r"\kappa", "q", a.rng.standard_normal(4))
    for one in (e, f):
        a.assume(one.T * one, 1, "weights add to one")
    a.assume(X * e, 0 * (X * e), "K~_1 - K has mean zero")
    a.assume(Y * f, 0 * (Y * f), "so has K~_2 - K")
    cross = (X * e).T * (Y * f)
    a.identity(
        "E of a quarter of |K~_1 - K~_2|^2 and of the mean's error",
        (sq(X) + sq(Y) - 2 * cross) / 4,
        (sq(X) + sq(Y) + 2 * cross) / 4,
    )
    a.wrong("of half of it", left=(sq(X) + sq(Y) - 2 * cross) / 2)
    one, two = X + c * e.T, Y + c * f.T
    a.identity("E tr K~_1 K~_2, kappa the entries of K", (one * e).T * (two * f), sq(c))
    return a.certificate()


def subsampled() -> Certificate:
    a = Argument()
    weights = np.sqrt([0.25] * 4)
    X = a.matrix("X", "P", "n", a.rng.standard_normal((3, 4)) * weights)
    e = a.vector("e", "n", weights)
    a.assume(e.T * e, 1, "rows drawn uniformly; columns of X are n e_i phi_i times 1/sqrt(n)")
    M = a.positive("M", float(np.sqrt(a.model.scalar(sq(X)))) + 0.1)
    s_ = a.slack("s", M**2 - sq(X), "n |e_i| |phi_i| at most M for every i")
    mean = X * e
    a.at_most("one draw: mean square deviation", sq(X - mean * e.T), M**2, s_, mean)
    a.wrong("of an eighth of it", right=M**2 / 80)
    b = a.positive("b", 5.0)
    v = a.nonnegative("v", 0.5)
    a.identity("one more independent draw adds its variance: b draws give b v, their mean v / b", b * v / b**2, v / b)
    u, w_ = a.vector("x", "P", a.rng.standard_normal(3)), a.vector("y", "P", a.rng.standard_normal(3))
    a.at_most("one draw changed: |x - y|^2, both at most M^2", sq(u - w_), 2 * sq(u) + 2 * sq(w_), u + w_)
    c = Calculation()
    L, width, bound = sp.symbols("L b M", positive=True)
    shift = bound * sp.sqrt(2 * L / width)
    points = [{L: 2, width: 5, bound: 3}]
    c.equal(
        "McDiarmid, differences 2 M / b: the exponent is ln(1/delta) = L",
        2 * shift**2 / (width * (2 * bound / width) ** 2),
        L,
        points,
    )
    c.equal("both parts", bound / sp.sqrt(width) + shift, bound * (1 + sp.sqrt(2 * L)) / sp.sqrt(width), points)
    return _and(c, a)


MEAN = "E over every index pattern of four columns, summed by Moebius inversion: for every P and k"
BALLS = "the statement is about the listed cases: each is decided in ball arithmetic"
PROOFS: dict[tuple[str, str], Proof] = {
    ("jl_table", "all 36 integers"): Proof(Kind.FINITE, None, (), BALLS),
    ("jl_table", "distortions at n = 1300, 95 %"): Proof(Kind.FINITE, None, (), BALLS),
    ("sec_4_2_jl", "pairwise distances"): Proof(
        Kind.MOMENTS, dasgupta_gupta, (CHERNOFF, GAUSSIAN), "the failure probability is below 1, so a map exists"
    ),
    ("sec_4_2_jl", "threshold 8 ln n / eps^2"): Proof(
        Kind.MOMENTS,
        simplified_width,
        (CHERNOFF, GAUSSIAN),
        "small: n^(4 eps / 3) < (n + 1) / (n - 1); the stated n and eps above that are decided one by one",
    ),
    ("sec_4_2_unbiased", "isotropic families"): Proof(
        Kind.MOMENTS, isotropic, (GAUSSIAN,), "the mean of a linear function"
    ),
    ("inner_product_law", "as stated"): Proof(
        Kind.MOMENTS,
        polarised,
        (GAUSSIAN,),
        "A w has k independent coordinates N(0, |w|^2 / k); orthogonal w give independent ones",
    ),
    ("moments_gaussian", "as stated"): Proof(Kind.MOMENTS, lambda: table("gaussian"), (), MEAN),
    ("moments_iid", "as stated"): Proof(Kind.MOMENTS, lambda: table("iid"), (), MEAN),
    ("moments_rademacher", "as stated"): Proof(Kind.MOMENTS, lambda: table("rademacher"), (), MEAN),
    ("moments_countsketch", "as stated"): Proof(Kind.MOMENTS, lambda: table("countsketch", "sjlt", "blocks"), (), MEAN),
    ("moments_srht_with", "as stated"): Proof(Kind.MOMENTS, lambda: table("srht_with"), (), MEAN),
    ("moments_srht_without", "as stated"): Proof(Kind.MOMENTS, lambda: table("srht_without"), (), MEAN),
    ("moments_haar", "as stated"): Proof(Kind.MOMENTS, lambda: table("haar"), (), MEAN),
    ("moments_coordinates", "as stated"): Proof(Kind.MOMENTS, lambda: table("coordinates"), (), MEAN),
    ("moments_contiguous", "as stated"): Proof(Kind.MOMENTS, lambda: table("contiguous"), (), MEAN),
    ("moments_tensorsketch", "as stated"): Proof(
        Kind.MOMENTS, tensor, (), "E over the pairings of rows and of columns"
    ),
    ("moments_kernel", "as stated"): Proof(Kind.MOMENTS, whole_kernel, (), MEAN),
    ("trace_concentration", "sign probes"): Proof(Kind.MOMENTS, lambda: probes("signs", 1), (), MEAN),
    ("trace_concentration", "Gaussian probes"): Proof(Kind.MOMENTS, lambda: probes("Gaussian", 3), (), MEAN),
    ("trace_concentration", "Gaussian maps"): Proof(
        Kind.MOMENTS,
        trace_law,
        (CHERNOFF, GAUSSIAN),
        "tr K~ / tr K is a mean of chi^2_k / k with weights that add to one; by induction the product of "
        "1 - 2 t lambda_i / k is at least that of rank one; then both tails of chi^2_k / k",
    ),
    ("split_half", "independent halves"): Proof(
        Kind.ALGEBRA,
        halves,
        (),
        "columns: entries of K~_1 - K, K~_2 - K times roots of weights; the halves are independent",
    ),
    ("certificate_streaming", "subsampled"): Proof(
        Kind.MOMENTS, subsampled, (MCDIARMID, JENSEN), "E |r^ - r| <= M / sqrt(b) by Jensen, then McDiarmid"
    ),
}
