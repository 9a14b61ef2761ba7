"""Sections 4.2, 9.1 and the projection step of B.6: random maps and what they tell of spectra, beside exact values.

One file because maps, laws and spectra share their exact instances.
"""

from math import ceil, comb
from typing import Any

import numpy as np
from flint import arb

from dntk_ref import projected_spectrum, projection, spectral
from proofs_checks.references.agreement import Agreement, Instance, seeded
from proofs_checks.references.balls import (
    energy,
    eye,
    length,
    norm2,
    root,
    spectrum,
    truncated,
    vectors,
)
from proofs_checks.references.families import KERNELS, TIED

__all__ = ["AGREEMENTS"]

# A share that features rounded to float64 meet up to their rounding counts as met.
TIE = 1 - 2.0**-44


def _map(rng: np.random.Generator, i: int) -> Instance:
    """Two vectors, features, sizes of a map, and numbers of the JL statements."""
    P, k = ((4, 2), (8, 4), (8, 2), (16, 4), (4, 4), (6, 2), (12, 6), (9, 3))[i % 8]
    return Instance(
        P=P,
        k=k,
        u=rng.standard_normal(P),
        v=rng.standard_normal(P),
        Phi=rng.standard_normal((3, P)),
        seed=i,
        sparsity=1.0 + 3 * float(rng.random()),
        n=int(rng.integers(2, 400)),
        epsilon=float((0.5, 0.3, 0.2, 0.7)[i % 4]),
        delta=float((0.25, 0.05, 0.01)[i % 3]),
        shape=(2, P // 2) if P % 2 == 0 else (3, P // 3),
        points=rng.standard_normal((4, P)),
        images=rng.standard_normal((4, k)),
        overlaps=_symmetric(rng.random((P, P))),
        cosine=float((0.0, 0.5, -0.75, 1.0)[i % 4]),
        count=int(rng.integers(5, 400)),
        estimate=1.0 + float(rng.random()),
        i=i,
    )


def _symmetric(matrix: np.ndarray) -> np.ndarray:
    return (matrix + matrix.T) / 2


MAPS = seeded(_map)


def on(function: Any, call: Any, exact: Any, cases: Any = MAPS, **rest: Any) -> Agreement:
    """Return an agreement on the maps, or on other cases."""
    return Agreement(function=function, call=call, exact=exact, cases=cases, **rest)


def generator(case: Instance) -> np.random.Generator:
    """The generator of one instance."""
    return np.random.default_rng(case.seed)


def rows(drawn: np.ndarray) -> np.ndarray:
    """Squared lengths of the rows of a map."""
    return np.sum(drawn**2, axis=1)


def ones(e: Instance) -> np.ndarray:
    """The squared lengths of rows that are one."""
    return np.ones(e.P)


def covariance(e: Instance) -> np.ndarray:
    """A^T A = (P / k) I."""
    return eye(e.k) * e.P / e.k


def v0(e: Instance, u: np.ndarray, v: np.ndarray) -> Any:
    """|u|^2 |v|^2 + <u, v>^2."""
    return energy(u) * energy(v) + np.sum(u * v) ** 2


def variances(e: Instance, u: np.ndarray, v: np.ndarray) -> dict[str, Any]:
    """Var <Au, Av> of every kind, from second moments of the map's rows."""
    padded = 1 << (e.P - 1).bit_length()
    D, V = np.sum(u * u * v * v), v0(e, u, v)
    runs = np.arange(e.P) // e.k
    together = sum((v0(e, u[runs == r], v[runs == r]) for r in range(runs[-1] + 1)), arb(0))
    signs = (V - 2 * D) / e.k
    haar = arb(0) if e.k == e.P else arb(e.P * (e.P - e.k)) / (e.k * (e.P - 1) * (e.P + 2))
    return {
        "gaussian": V / e.k,
        "rademacher": signs,
        "countsketch": signs,
        "sjlt_block": signs,
        "sjlt_uniform": signs,
        "srht_replace": signs,
        "achlioptas": (V + (e.sparsity - 3) * D) / e.k,
        "srht": signs * (padded - e.k) / max(padded - 1, 1),
        "haar": haar * (energy(u) * energy(v) + (1 - arb(2) / e.P) * np.sum(u * v) ** 2),
        "coordinates": (arb(e.P) * D - np.sum(u * v) ** 2) / e.k,
        "contiguous": (V - together) / e.k,
    }


KINDS = (
    "gaussian",
    "rademacher",
    "countsketch",
    "sjlt_block",
    "srht_replace",
    "achlioptas",
    "srht",
    "haar",
    "coordinates",
    "contiguous",
)


def coefficient_rows(e: Instance) -> list[Any]:
    """norms, inner and overlap of the kinds that have three terms."""
    padded = 1 << (e.P - 1).bit_length()
    share = arb(padded - e.k) / max(padded - 1, 1)
    c = arb(0) if e.k == e.P else arb(e.P * (e.P - e.k)) / (e.k * (e.P - 1) * (e.P + 2))
    one = arb(1) / e.k
    return [
        [one, one, arb(0)],
        [one, one, (e.sparsity - 3) / e.k],
        [arb(0), -one, arb(e.P) / e.k],
        [c, c * (1 - arb(2) / e.P), arb(0)],
        [share / e.k, share / e.k, -2 * share / e.k],
        [one, one, -2 * one],
    ]


def tensor(U: np.ndarray, V: np.ndarray, k: int, bijective: bool) -> Any:
    """Var <AU, AV> of a TensorSketch by enumeration of all hash pairs of two rows and of two columns.

    Signs pair terms: rows i, i' and columns j, j' that differ. E over the difference d of the row hashes and e of the column
    hashes of (X 1[d = e] + Y 1[d = -e])^2, or of the row or column term alone where only one of them differs.
    """
    p, q = U.shape
    total: Any = arb(0)

    def law(i: int, j: int) -> list[Any]:
        within = bijective and i // k == j // k
        return [(arb(0) if d == 0 else arb(1) / (k - 1)) if within else arb(1) / k for d in range(k)]

    for i in range(p):
        for m in range(i + 1, p):
            term = sum((U[i, j] * V[m, j] + U[m, j] * V[i, j] for j in range(q)), arb(0))
            total = total + term**2 * law(i, m)[0]
    for j in range(q):
        for n in range(j + 1, q):
            term = sum((U[i, j] * V[i, n] + U[i, n] * V[i, j] for i in range(p)), arb(0))
            total = total + term**2 * law(j, n)[0]
    for i in range(p):
        for m in range(i + 1, p):
            for j in range(q):
                for n in range(j + 1, q):
                    X, Y = U[i, j] * V[m, n] + U[m, n] * V[i, j], U[i, n] * V[m, j] + U[m, j] * V[i, n]
                    for d, a in enumerate(law(i, m)):
                        for g, b in enumerate(law(j, n)):
                            total = total + a * b * (X * int(d == g) + Y * int((d + g) % k == 0)) ** 2
    return total


def shaped(e: Instance, u: np.ndarray) -> np.ndarray:
    """A vector as a matrix of the shape."""
    return u.reshape(e.shape)


def gaussian_tail(k: int, epsilon: Any) -> Any:
    """Pr(|chi2_k / k - 1| > epsilon)."""
    a, low, high = arb(k) / 2, 1 - epsilon, 1 + epsilon
    upper = (a * high).gamma_upper(a, 1)
    lower = 1 - (a * low).gamma_upper(a, 1) if low > 0 else arb(0)
    return lower + upper


def beta_tail(k: int, P: int, epsilon: Any) -> Any:
    """Pr(|(P / k) Beta(k / 2, (P - k) / 2) - 1| > epsilon)."""
    if k == P:
        return arb(0)
    a, b = arb(k) / 2, arb(P - k) / 2
    low, high = (1 - epsilon) * k / P, (1 + epsilon) * k / P
    lower = low.beta_lower(a, b, 1) if low > 0 else arb(0)
    return lower + (1 - high.beta_lower(a, b, 1) if high < 1 else arb(0))


def least_k(enough: Any) -> int:
    """The least k that is enough, looked for from below."""
    low, high = 0, 1
    while not enough(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def trace_interval(e: Instance, kind: str) -> list[Any]:
    """The ends of the interval, the two roots of x - ln x = 1 + t by Newton's method."""
    T, t = e.estimate, 2 * (2 / e.delta).log() / e.count
    if kind == "moments":
        above = below = root(2 / (e.count * e.delta))
    else:
        above = newton(t, 1 + root(2 * t) + t) - 1
        below = root(3 * t) if kind == "signs" else 1 - newton(t, (-1 - t).exp())
    return [T / (1 + above), T / (1 - below) if below < 1 else float("inf")]


def newton(t: Any, x: Any) -> Any:
    """The root of x - ln x = 1 + t that Newton's method reaches from x."""
    for _ in range(60):
        x = (x - (x - x.log() - 1 - t) / (1 - 1 / x)).mid()
    return x


# Section 9.1 and B.6.


def energies(e: Instance) -> np.ndarray:
    """z_j^T K z_j."""
    image = e.Phi.T @ e.Z
    return np.sum(image * image, axis=0)


def first_holding(held: np.ndarray, whole: Any, epsilon: Any, otherwise: int) -> int:
    """The first number of directions that hold a share 1 - epsilon."""
    total = arb(0)
    for count, part in enumerate([arb(0), *held]):
        total = total + part
        if not total < (1 - epsilon) * whole * TIE:
            return count
    return otherwise


def completed(e: Instance) -> int:
    """R + ceil((n - r) missing / rest), or the plain bound."""
    held, whole, r = energies(e), energy(e.Phi), e.Z.shape[1]
    missing = (1 - e.epsilon) * whole * TIE - np.sum(held)
    if not missing > 0:
        return first_holding(held, whole, e.epsilon, e.n)
    share = (e.n - r) * missing / (whole - np.sum(held))
    return r + ceil(float(share))


def by_energies(e: Instance) -> Any:
    """The bound on Def 3.2, R1, from energies and the trace."""
    held, whole, r = energies(e), energy(e.Phi), e.Z.shape[1]
    rest = [whole - sum(held[:j], arb(0)) for j in range(r + 1)]
    following = min((rest[j] / (r + 1 - j) for j in range(r + 1)), key=float)
    squared = energy(held) + (rest[r] ** 2 / (e.n - r) if r < e.n else arb(0))
    return min(arb(1), root(following * rest[r] / squared), key=float)


def missed(e: Instance) -> Any:
    """Tr K - tr Z^T K Z."""
    return energy(e.Phi) - np.sum(energies(e))


def image_norm(e: Instance) -> Any:
    """|Z^T K Z|_F."""
    image = e.Phi.T @ e.Z
    return length(image.T @ image)


def crossed(e: Instance) -> int:
    """The rank whose directions come from one kernel and whose energy from the other."""
    V = vectors(e.full)
    return first_holding(np.sum(V * (e.K @ V), axis=0), np.trace(e.K), e.epsilon, e.n)


def embedding(e: Instance) -> Any:
    """The largest |eigenvalue - 1| on the row span."""
    return max((abs(x - 1) for x in _on_span(e)), key=float)


def _on_span(e: Instance) -> list[Any]:
    """Eigenvalues of B^T A A^T B for a basis B of the row span."""
    V = vectors(e.Phi.T @ e.Phi)[:, : min(e.n, e.P)]
    return list(spectrum(V.T @ e.A @ e.A.T @ V))


def relative_error(e: Instance) -> Any:
    """Max |lambda~ / lambda - 1|."""
    before, after = spectrum(e.full), spectrum(e.low)
    return max((abs(b / a - 1) for a, b in zip(before, after, strict=True)), key=float)


def sandwich(e: Instance) -> Any:
    """|(K + mu)^-1/2 (K~ - K) (K + mu)^-1/2|_2."""
    V, values = vectors(e.K), spectrum(e.K)
    R = V / np.array([root(x + e.mu) for x in values], dtype=object) @ V.T
    return norm2(R @ (e.low - e.K) @ R)


def ratio_bound(e: Instance) -> Any:
    """Epsilon (lambda~_{r+1} / mean) ((1 + e) / (1 - e))^2, e = 1/4."""
    values = spectrum(e.full)
    r = truncated(values, e.epsilon)
    return e.epsilon * (values[r] if r < e.n else arb(0)) / (np.trace(e.full) / e.n) * (arb(5) / 3) ** 2


def davidson(rank: int, delta: Any) -> Any:
    """sqrt(d) + sqrt(2 ln(2 / delta))."""
    return root(arb(rank)) + root(2 * (2 / delta).log())


def whole_variance(e: Instance, kind: str) -> Any:
    """E |K~ - K|_F^2 entry by entry."""
    return sum((variances(e, u, v)[kind] for u in e.Phi for v in e.Phi), arb(0))


def options(c: Instance, kind: str) -> dict[str, Any]:
    """What one kind reads besides sizes."""
    return {"sparsity": c.sparsity} if kind == "achlioptas" else {}


def split_bias(e: Instance) -> list[Any]:
    """What one draw's halves exceed by: k / (P' - k) of the error for maps without replacement, 0 else."""
    padded = 1 << (e.P - 1).bit_length()
    return [arb(0) if e.k == padded else arb(e.k) / (padded - e.k) * whole_variance(e, "srht"), arb(0)]


def _even(rng: np.random.Generator, i: int) -> Instance:
    """Features and an even k below the padded number of columns."""
    P, k = ((4, 2), (8, 4), (6, 2), (16, 2))[i % 4]
    return Instance(P=P, k=k, Phi=rng.standard_normal((2, P)), sparsity=2.0, i=i)


EVEN = seeded(_even)
AGREEMENTS: dict[str, tuple[Agreement, ...]] = {
    "sec_4_2_unbiased": (
        on(
            projection.haar,
            lambda f, c: f(c.P, c.k, rng=generator(c)).T @ f(c.P, c.k, rng=generator(c)),
            covariance,
            loss=lambda c: 4.0,
        ),
        on(
            projection.orthonormal_map,
            lambda f, c: f(np.eye(c.P)[:, : c.k]),
            lambda e: eye(e.P)[:, : e.k] * root(arb(e.P) / e.k),
        ),
        on(
            projection.draw,
            lambda f, c: f("rademacher", c.P, c.k, rng=generator(c)) ** 2,
            lambda e: np.ones((e.P, e.k)) / e.k,
        ),
    ),
    "moments_gaussian": (
        on(
            projection.gaussian,
            lambda f, c: f(c.P, c.k, rng=generator(c)),
            lambda e: Instance(x=generator(e).standard_normal((e.P, e.k))).exact.x / root(arb(e.k)),
        ),
    ),
    "moments_iid": (
        on(
            projection.achlioptas,
            lambda f, c: np.max(f(c.P, c.k, rng=generator(c), sparsity=c.sparsity) ** 2),
            lambda e: e.sparsity / e.k,
        ),
    ),
    "moments_rademacher": (
        on(projection.rademacher, lambda f, c: f(c.P, c.k, rng=generator(c)) ** 2, lambda e: np.ones((e.P, e.k)) / e.k),
    ),
    "moments_countsketch": (
        on(projection.count_sketch, lambda f, c: rows(f(c.P, c.k, rng=generator(c))), ones),
        on(projection.sjlt_block, lambda f, c: rows(f(c.P, c.k, rng=generator(c), nonzeros=c.k)), ones),
        on(projection.sjlt_uniform, lambda f, c: rows(f(c.P, c.k, rng=generator(c), nonzeros=2)), ones),
        on(projection.contiguous_sketch, lambda f, c: rows(f(c.P, c.k, rng=generator(c))), ones),
        on(projection.tensor_sketch, lambda f, c: rows(f(c.shape, c.k, rng=generator(c))), ones),
        on(projection.runs_of, lambda f, c: f(c.P, c.k), lambda e: np.array([i // e.k for i in range(e.P)])),
        on(
            projection.signed_map_variance,
            lambda f, c: f(c.u, c.v, c.overlaps),
            lambda e: sum(
                (
                    (e.u[i] * e.v[j] + e.u[j] * e.v[i]) ** 2 * e.overlaps[i, j]
                    for i in range(e.P)
                    for j in range(i + 1, e.P)
                ),
                arb(0),
            ),
        ),
        on(
            projection.tensor_sketch_variance,
            lambda f, c: [f(c.u.reshape(c.shape), c.v.reshape(c.shape), c.k, bijective=b) for b in (False, True)],
            lambda e: [tensor(shaped(e, e.u), shaped(e, e.v), e.k, b) for b in (False, True)],
        ),
    ),
    "moments_srht_with": (
        on(
            projection.srht_with_replacement,
            lambda f, c: f(c.P, c.k, rng=generator(c)) ** 2,
            lambda e: np.ones((e.P, e.k)) / e.k,
        ),
    ),
    "moments_srht_without": (
        on(projection.srht, lambda f, c: f(c.P, c.k, rng=generator(c)) ** 2, lambda e: np.ones((e.P, e.k)) / e.k),
        on(projection.padded_dimension, lambda f, c: f(c.P), lambda e: min(2**j for j in range(9) if 2**j >= e.P)),
    ),
    "moments_coordinates": (
        on(
            projection.coordinate_sampling,
            lambda f, c: np.sum(f(c.P, c.k, rng=generator(c)) ** 2, axis=0),
            lambda e: np.full(e.k, e.P / e.k),
        ),
    ),
    "moments_haar": (
        on(
            projection.variance_coefficients,
            lambda f, c: [
                f(kind, c.P, c.k, **options(c, kind))
                for kind in ("gaussian", "achlioptas", "coordinates", "haar", "srht", "sjlt_block")
            ],
            coefficient_rows,
        ),
        on(
            projection.inner_product_variance,
            lambda f, c: (
                [f(kind, c.u, c.v, c.k, **options(c, kind)) for kind in KINDS]
                + [f("tensorsketch", c.u, c.v, c.k, shape=c.shape)]
            ),
            lambda e: (
                [variances(e, e.u, e.v)[kind] for kind in KINDS] + [tensor(shaped(e, e.u), shaped(e, e.v), e.k, False)]
            ),
            size=lambda e: v0(e, e.u, e.v),
        ),
    ),
    "moments_kernel": (
        on(
            projection.kernel_error_expectation,
            lambda f, c: (
                [f(kind, c.Phi, c.k, **options(c, kind)) for kind in KINDS]
                + [f("tensorsketch", c.Phi, c.k, shape=c.shape)]
            ),
            lambda e: (
                [whole_variance(e, kind) for kind in KINDS]
                + [sum((tensor(shaped(e, u), shaped(e, v), e.k, False) for u in e.Phi for v in e.Phi), arb(0))]
            ),
            size=lambda e: energy(e.Phi) ** 2,
        ),
    ),
    "sec_4_2_jl": (
        on(
            projection.failure_probability,
            lambda f, c: [f("gaussian", c.k, c.epsilon), f("haar", c.k, c.epsilon, P=c.P)],
            lambda e: [gaussian_tail(e.k, e.epsilon), beta_tail(e.k, e.P, e.epsilon)],
            loss=lambda c: 100.0,
        ),
        on(
            projection.union_bound,
            lambda f, c: f("gaussian", c.n, c.k, c.epsilon),
            lambda e: comb(e.n, 2) * gaussian_tail(e.k, e.epsilon),
            loss=lambda c: 100.0,
        ),
        on(projection.typical_distortion, lambda f, c: f(c.k), lambda e: root(arb(2) / e.k)),
        on(
            projection.dasgupta_gupta_dimension,
            lambda f, c: f(c.n, c.epsilon),
            lambda e: ceil(float(4 * arb(e.n).log() / (e.epsilon**2 / 2 - e.epsilon**3 / 3))),
        ),
        on(
            projection.simplified_dimension,
            lambda f, c: f(c.n, c.epsilon),
            lambda e: ceil(float(8 * arb(e.n).log() / e.epsilon**2)),
        ),
        on(
            projection.distance_distortion,
            lambda f, c: f(c.points, c.images),
            lambda e: max(
                (
                    abs(energy(e.images[i] - e.images[j]) / energy(e.points[i] - e.points[j]) - 1)
                    for i in range(4)
                    for j in range(i)
                ),
                key=float,
            ),
            size=lambda e: 1.0,
        ),
    ),
    "jl_table": (
        on(
            projection.smallest_dimension,
            lambda f, c: f("gaussian", c.n, c.epsilon, c.delta),
            lambda e: least_k(lambda k: comb(e.n, 2) * gaussian_tail(k, e.epsilon) <= e.delta),
        ),
        on(
            projection.guaranteed_distortion,
            lambda f, c: comb(c.n, 2) * projection.failure_probability("gaussian", 20, f("gaussian", c.n, 20, c.delta)),
            lambda e: e.delta,
            loss=lambda c: 1e3,
        ),
    ),
    "sec_4_2_inner": (
        on(
            projection.inner_product_bound_with_origin,
            lambda f, c: f(c.u, c.v, c.epsilon),
            lambda e: e.epsilon * (energy(e.u) + energy(e.v) - np.sum(e.u * e.v)),
        ),
        on(
            projection.inner_product_bound_with_signs,
            lambda f, c: f(c.u, c.v, c.epsilon),
            lambda e: e.epsilon * length(e.u) * length(e.v),
        ),
    ),
    "inner_product_law": (
        # For a cosine of one the inner product is the squared length; for zero it is half a difference of two.
        on(
            projection.inner_product_failure,
            lambda f, c: f(c.k, 1.0, c.epsilon),
            lambda e: gaussian_tail(e.k, e.epsilon),
            loss=lambda c: 1e4,
        ),
        on(
            projection.inner_product_dimension,
            lambda f, c: f(c.n, c.epsilon, c.delta),
            lambda e: least_k(lambda k: comb(e.n, 2) * gaussian_tail(k, e.epsilon) <= e.delta),
        ),
    ),
    "rem_4_1": (
        on(projected_spectrum.sandwich_error, lambda f, c: f(c.K, c.low, c.mu), sandwich, KERNELS, loss=lambda c: 1e3),
        on(
            projected_spectrum.sandwich_scale,
            lambda f, c: f(c.mu, c.n),
            lambda e: 2 * root(e.mu / e.n) + e.mu / e.n,
            KERNELS,
        ),
    ),
    "projected_majorisation": (
        on(projected_spectrum.partial_sums, lambda f, c: f(c.K), lambda e: np.cumsum(spectrum(e.K)), KERNELS),
    ),
    "b_6_jl": (
        on(
            projected_spectrum.relative_eigenvalue_error,
            lambda f, c: f(c.full, c.low),
            relative_error,
            KERNELS,
            size=lambda e: 1.0,
            loss=lambda c: 1e3,
        ),
        on(
            projected_spectrum.embedding_error,
            lambda f, c: f(c.Phi, c.A),
            embedding,
            KERNELS,
            size=lambda e: 1.0,
            loss=lambda c: 1e13 if c.i % 4 > 1 else 1e4,
        ),
        on(
            projected_spectrum.embedding_dimension,
            lambda f, c: f(c.k, c.epsilon, c.delta),
            lambda e: ceil(float((davidson(e.k, e.delta) / (root(1 + e.epsilon) - 1)) ** 2)),
        ),
        on(
            projected_spectrum.embedding_distortion,
            lambda f, c: f(c.k, c.n, c.delta),
            lambda e: (1 + davidson(e.k, e.delta) / root(arb(e.n))) ** 2 - 1,
            size=lambda e: 1.0,
        ),
        on(
            projected_spectrum.projected_tail_bound,
            lambda f, c: f(c.K, c.epsilon, 0.25),
            lambda e: e.epsilon * 5 / 3 * np.trace(e.K),
            KERNELS,
        ),
        on(
            projected_spectrum.projected_ratio_bound,
            lambda f, c: f(c.full, c.epsilon, 0.25),
            ratio_bound,
            KERNELS,
            loss=lambda c: 100.0,
        ),
    ),
    "rank_by_products": (
        on(
            spectral.captured_by_directions, lambda f, c: f(c.Phi, c.Z), energies, KERNELS, size=lambda e: energy(e.Phi)
        ),
        on(
            spectral.rank_upper_bound,
            lambda f, c: f(c.Phi, c.Z, c.epsilon),
            lambda e: first_holding(energies(e), energy(e.Phi), e.epsilon, e.n),
            KERNELS,
        ),
        on(
            spectral.rank_upper_bound,
            lambda f, c: f(c.Phi, c.Z, c.epsilon),
            lambda e: first_holding(energies(e), energy(e.Phi), e.epsilon, e.n),
            TIED,
        ),
        on(spectral.completed_rank_bound, lambda f, c: f(c.Phi, c.Z, c.epsilon), completed, KERNELS),
        on(spectral.completed_rank_bound, lambda f, c: f(c.Phi, c.Z, c.epsilon), completed, TIED),
        on(spectral.redundancy_bound_by_energies, lambda f, c: f(c.Phi, c.Z), by_energies, KERNELS, size=lambda e: 1.0),
        on(
            spectral.captured_share,
            lambda f, c: f(c.Phi, c.Z),
            lambda e: np.sum(energies(e)) / energy(e.Phi),
            KERNELS,
            size=lambda e: 1.0,
        ),
        on(
            spectral.redundancy_bound_r2,
            lambda f, c: f(c.Phi, c.Z),
            lambda e: missed(e) / energy(e.Phi),
            KERNELS,
            size=lambda e: 1.0,
        ),
        on(
            spectral.redundancy_bound_r1,
            lambda f, c: f(c.Phi, c.Z),
            lambda e: missed(e) / image_norm(e),
            KERNELS,
            size=lambda e: energy(e.Phi) / image_norm(e),
        ),
    ),
    "rank_estimates": (
        on(spectral.naive_rank, lambda f, c: f(c.K, c.epsilon), lambda e: truncated(spectrum(e.K), e.epsilon), TIED),
        on(spectral.cross_validated_rank, lambda f, c: f(c.full, c.K, c.epsilon), crossed, KERNELS),
    ),
    "split_half": (
        on(spectral.split_half_error, lambda f, c: f(c.full, c.K), lambda e: energy(e.full - e.K) / 4, KERNELS),
        on(spectral.split_half_squared_norm, lambda f, c: f(c.full, c.K), lambda e: np.sum(e.full * e.K), KERNELS),
        on(spectral.split_half_bias, lambda f, c: [f("srht", c.Phi, c.k), f("gaussian", c.Phi, c.k)], split_bias, EVEN),
        on(spectral.naive_norm_bias, lambda f, c: f("srht", c.Phi, c.k), lambda e: whole_variance(e, "srht"), EVEN),
    ),
    "trace_concentration": (
        on(
            spectral.trace_failure_bound,
            lambda f, c: f(c.count, c.epsilon),
            lambda e: (
                (-arb(e.count) / 2 * (e.epsilon - (1 + e.epsilon).log())).exp()
                + (arb(e.count) / 2 * (e.epsilon + (1 - e.epsilon).log())).exp()
            ),
            loss=lambda c: 100.0,
        ),
        on(
            spectral.hutchinson_estimate,
            lambda f, c: f(c.Phi, c.probes),
            lambda e: energy(e.probes @ e.Phi) / 4,
            KERNELS,
        ),
        on(spectral.hutchinson_variance_gaussian, lambda f, c: f(c.K, 7), lambda e: 2 * energy(e.K) / 7, KERNELS),
        on(
            spectral.hutchinson_variance_rademacher,
            lambda f, c: f(c.K, 7),
            lambda e: 2 * (energy(e.K) - energy(np.diag(e.K))) / 7,
            KERNELS,
        ),
        on(
            spectral.hutchinson_probes_gaussian,
            lambda f, c: f(c.epsilon, c.delta),
            lambda e: ceil(float(8 * (2 / e.delta).log() / e.epsilon**2)),
        ),
        on(
            spectral.hutchinson_probes_rademacher,
            lambda f, c: f(c.epsilon, c.delta),
            lambda e: ceil(float(6 * (2 / e.delta).log() / e.epsilon**2)),
        ),
        on(
            spectral.trace_interval,
            lambda f, c: [f(c.estimate, c.count, c.delta, kind) for kind in ("gaussian", "signs", "moments")],
            lambda e: [trace_interval(e, kind) for kind in ("gaussian", "signs", "moments")],
            loss=lambda c: 100.0,
        ),
    ),
}
