"""Random maps (4.2, Remark B.5) and Theorem R on the tangent features of one trained network: theory and measurement.

The maps act on the eigen-factor, whose coordinates are the principal axes of the features. A Gaussian map of the factor
has the law of one of the features themselves; for the other kinds law and draw both belong to these coordinates.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from dntk_ref.projection import draw, guaranteed_distortion, kernel_error_expectation, typical_distortion
from dntk_ref.redundancy import participation_ratio, truncation_rank
from dntk_ref.ridge import dual_coefficients, effective_dimension, ridge_grid, ridge_weights
from proofs_checks.instances import SEED
from proofs_checks.margin import Margin, all_of, at_most, equal, psd, sampled
from proofs_checks.real import EPSILON, ROUNDINGS, RealClass, real, real_classes, shown
from proofs_checks.statement import Measurement, Reading, Statement, Step, Twin, Verdict

__all__ = ["STATEMENTS"]

REAL, AS_MEASURED = 3, "as measured"


# --- 4.2: the error of K under a random map ---------------------------------------------------------------------------

KINDS, WIDTH, DRAWS = ("gaussian", "rademacher", "countsketch", "haar"), 64, 400


def maps(kind: str, width: int = WIDTH, draws: int = DRAWS) -> list[np.ndarray]:
    """Maps of a kind, each with a seed of its own; all classes see the same ones."""
    n = len(real_classes()[0].kernel)
    place = KINDS.index(kind)
    return [draw(kind, n, width, rng=np.random.default_rng([SEED, place, width, s])) for s in range(draws)]


@lru_cache(maxsize=8)
def squared_errors(kind: str) -> np.ndarray:
    """|K~ - K|_F^2 / |K|_F^2 of every class and draw, (10, DRAWS).

    With F = U Lambda^1/2 and E = A A^T - I: |F E F^T|_F^2 = sum_ij lambda_i lambda_j E_ij^2, for all classes at once.
    """
    spectra = np.stack([case.values for case in real_classes()])
    errors = []
    for a in maps(kind):
        squares = (a @ a.T - np.eye(len(a))) ** 2
        errors.append(np.einsum("ci,ij,cj->c", spectra, squares, spectra, optimize=True))
    return np.stack(errors, axis=1) / np.sum(spectra**2, axis=1)[:, None]


@dataclass(frozen=True, eq=False)
class Mapped:
    """A class under all maps of a kind."""

    case: RealClass
    kind: str


def mapped(count: int) -> list[Mapped]:
    """Return every class with every kind."""
    return [Mapped(case, kind) for kind in KINDS for case in real_classes()]


def expectation(case: RealClass, kind: str, width: int = WIDTH) -> float:
    """E |K~ - K|_F^2 / |K|_F^2 by the exact law."""
    return kernel_error_expectation(kind, case.factor, width) / float(np.sum(case.kernel**2))


def by_definition(case: RealClass, *, error: Callable) -> Margin:
    """The error of the first Gaussian map, by forming both kernels."""
    images = case.factor @ maps("gaussian", draws=1)[0]
    exact = float(np.sum((images @ images.T - case.kernel) ** 2) / np.sum(case.kernel**2))
    return equal(error(case), exact, scale=ROUNDINGS)


def averages(found: Mapped, *, law: Callable) -> Margin:
    """The mean squared error over the draws is the law's, in standard errors."""
    return sampled(squared_errors(found.kind)[found.case.index], law(found.case, found.kind))


def deviation(case: RealClass, kind: str) -> float:
    """The z-score of the mean squared error."""
    draws = squared_errors(kind)[case.index]
    return (draws.mean() - expectation(case, kind)) / (draws.std(ddof=1) / np.sqrt(draws.size))


def _sec_4_2() -> tuple[Measurement, ...]:
    rows = []
    for kind in KINDS:
        rows += [
            shown(
                f"root mean squared error of K, {kind}, k = {WIDTH}",
                "exact law:",
                lambda c, kind=kind: np.sqrt(squared_errors(kind)[c.index].mean()),
                lambda c, kind=kind: np.sqrt(expectation(c, kind)),
            ),
            shown(
                f"z-score, {kind}, {DRAWS} draws",
                "within 5 (alarm 6e-7 each, 40 of them)",
                lambda c, kind=kind: deviation(c, kind),
            ),
        ]
    return tuple(rows)


SEC_4_2 = Statement(
    label="real_sec_4_2",
    row="4.2, error of K under random maps",
    readings=(
        Reading(
            key=AS_MEASURED,
            formula=r"E\|\tilde K-K\|_F^2=\sum_{ij}\mathrm{Var}\tilde K_{ij}",
            verdict=Verdict.HOLDS,
            steps=(
                Step(
                    claim="the error by the spectrum is the error by definition",
                    check=by_definition,
                    cases=real,
                    twins=(
                        Twin("of the next draw", {"error": lambda c: squared_errors("gaussian")[c.index, 1]}),
                        Twin(
                            "of the next class", {"error": lambda c: squared_errors("gaussian")[(c.index + 1) % 10, 0]}
                        ),
                    ),
                    sides={"error": lambda c: squared_errors("gaussian")[c.index, 0]},
                ),
                Step(
                    claim="mean squared error against the exact law of each kind",
                    check=averages,
                    cases=mapped,
                    twins=(
                        Twin("the Gaussian law for every kind", {"law": lambda c, kind: expectation(c, "gaussian")}),
                        Twin("the Haar law for every kind", {"law": lambda c, kind: expectation(c, "haar")}),
                        Twin("the law of twice the width", {"law": lambda c, kind: expectation(c, kind, 2 * WIDTH)}),
                    ),
                    sides={"law": expectation},
                ),
            ),
            measured=_sec_4_2,
            note="normal false-alarm rate 6e-7 for each of 40 comparisons, 2.4e-5 in all; the classes share their "
            "maps, so that their z-scores are not independent",
        ),
    ),
    table=REAL,
)


# --- 4.2: distances ---------------------------------------------------------------------------------------------------

JL_WIDTH, ALARM = 1024, 1e-7


@lru_cache(maxsize=1)
def distortions() -> tuple[float, ...]:
    """The worst relative error over all pairs of a squared distance under one Gaussian map, for each class."""
    map_ = maps("gaussian", JL_WIDTH, 1)[0]
    found = []
    for case in real_classes():
        before, after = squared_distances(case.factor), squared_distances(case.factor @ map_)
        pairs = np.triu_indices(len(before), 1)
        found.append(float(np.abs(after[pairs] / before[pairs] - 1).max()))
    return tuple(found)


def squared_distances(rows: np.ndarray) -> np.ndarray:
    """|x_i - x_j|^2 of all pairs."""
    gram = rows @ rows.T
    return np.diag(gram)[:, None] + np.diag(gram)[None, :] - 2 * gram


def keeps_distances(case: RealClass, *, epsilon: Callable) -> Margin:
    """The worst distortion is at most epsilon."""
    return at_most(distortions()[case.index], epsilon(len(case.kernel)), scale=ROUNDINGS)


def _jl() -> tuple[Measurement, ...]:
    n = len(real_classes()[0].kernel)
    most = {alarm: f"{guaranteed_distortion('gaussian', n, JL_WIDTH, alarm):.4g}" for alarm in (0.05, ALARM)}
    rows = [
        shown(
            f"worst distortion of 19900 distances, Gaussian, k = {JL_WIDTH}",
            f"at most {bound}, but for a share {alarm:g} of the maps",
            lambda c: distortions()[c.index],
        )
        for alarm, bound in most.items()
    ]
    return (
        *rows,
        shown(
            "the same over the typical distortion sqrt(2 / k)",
            "none",
            lambda c: distortions()[c.index] / typical_distortion(JL_WIDTH),
        ),
    )


SEC_4_2_JL = Statement(
    label="real_sec_4_2_jl",
    row="4.2, distances under a Gaussian map",
    readings=(
        Reading(
            key=AS_MEASURED,
            formula=r"\binom{n}{2}p_G(k,\epsilon)\leq\delta",
            verdict=Verdict.HOLDS,
            steps=(
                Step(
                    claim="the worst distortion is what the union bound allows at delta = 1e-7",
                    check=keeps_distances,
                    cases=real,
                    twins=(
                        Twin("the typical distortion", {"epsilon": lambda n: typical_distortion(JL_WIDTH)}),
                        Twin(
                            "the guarantee of 16 times the width",
                            {"epsilon": lambda n: guaranteed_distortion("gaussian", n, 16 * JL_WIDTH, ALARM)},
                        ),
                    ),
                    sides={"epsilon": lambda n: guaranteed_distortion("gaussian", n, JL_WIDTH, ALARM)},
                ),
            ),
            measured=_jl,
            note="one draw, the same for ten classes: false alarm of the check at most 1e-6 in all; at a share of "
            "0.05 a class may exceed its bound, and here one does",
        ),
    ),
    table=REAL,
)


# --- Rem B.5 ----------------------------------------------------------------------------------------------------------


def intrinsic(case: RealClass) -> float:
    """Tr K / |K|_2."""
    return case.total / float(case.values[0])


def enough(case: RealClass) -> float:
    """r_eps / (1 - eps)^2: by Cauchy-Schwarz on the first r eigenvalues at least the participation ratio."""
    return truncation_rank(case.kernel, EPSILON) / (1 - EPSILON) ** 2


def ratio_ordered(case: RealClass, *, low: Callable, high: Callable) -> Margin:
    """The participation ratio: tr K / |K|_2 <= rho <= r_eps / (1 - eps)^2."""
    rho = participation_ratio(case.kernel)
    return all_of(at_most(low(case), rho, scale=ROUNDINGS * rho), at_most(rho, high(case), scale=ROUNDINGS * rho))


def _rem_b_5() -> tuple[Measurement, ...]:
    return (
        shown(
            "participation ratio (tr K)^2 / |K|_F^2",
            "at most r_eps / 0.9025:",
            lambda c: participation_ratio(c.kernel),
            enough,
        ),
        shown(
            f"k times the Gaussian mean squared error, k = {WIDTH}, less 1",
            "the participation ratio:",
            lambda c: WIDTH * squared_errors("gaussian")[c.index].mean() - 1,
            lambda c: participation_ratio(c.kernel),
        ),
        shown(
            "intrinsic dimension tr K / |K|_2",
            "at most the participation ratio:",
            intrinsic,
            lambda c: participation_ratio(c.kernel),
        ),
        shown(
            "truncation rank at 0.05, which the law does not contain",
            "between 1 and n = 200",
            lambda c: truncation_rank(c.kernel, EPSILON),
        ),
        shown(
            "effective dimension at 0.01 of the mean diagonal",
            "none",
            lambda c: effective_dimension(c.kernel, 0.01 * c.total / len(c.kernel)),
        ),
    )


REM_B_5 = Statement(
    label="real_rem_b_5",
    row="Rem B.5, what the projection error depends on",
    readings=(
        Reading(
            key=AS_MEASURED,
            formula=r"\frac{\mathrm{tr}K}{\|K\|_2}\leq\rho=\frac{(\mathrm{tr}K)^2}{\|K\|_F^2}"
            r"\leq\frac{r_\epsilon}{(1-\epsilon)^2}",
            verdict=Verdict.HOLDS,
            steps=(
                Step(
                    claim="the participation ratio lies between the two",
                    check=ratio_ordered,
                    cases=real,
                    twins=(
                        Twin("twice the intrinsic dimension", {"low": lambda c: 2 * intrinsic(c)}),
                        Twin("the rank from below", {"low": lambda c: truncation_rank(c.kernel, EPSILON)}),
                        Twin("the rank at 0.5 from above", {"high": lambda c: truncation_rank(c.kernel, 0.5)}),
                    ),
                    sides={"low": intrinsic, "high": enough},
                ),
            ),
            measured=_rem_b_5,
            note="the error follows the participation ratio, about 2, not the rank, about 38, nor n = 200",
        ),
    ),
    table=REAL,
)


# --- Theorem R --------------------------------------------------------------------------------------------------------


def represented(case: RealClass, *, weights: Callable) -> Margin:
    """The logits are Phi w_0: the head gradient times the head's own weights; the body's are zero."""
    w = weights(case)
    size = float(np.max(np.abs(case.head) @ np.abs(w)))
    return equal(case.head @ w, case.logits, scale=ROUNDINGS * size)


def holds_head(case: RealClass, *, times: float) -> Margin:
    """K = K_head + K_body: what is left of K without the head's kernel is positive semi-definite."""
    return psd(case.kernel - times * case.head @ case.head.T, scale=case.scale)


def squared_norm(case: RealClass, lam: float) -> float:
    """y^T (K + lam)^-1 y, which grows as lam falls, to the squared norm of the least interpolant of the sample."""
    return float(case.logits @ dual_coefficients(case.kernel, case.logits, lam))


def norm_bounded(case: RealClass, *, bound: Callable) -> Margin:
    """The norm of the logit in the kernel's space is at most that of the head's weights, at every ridge of the grid."""
    return all_of(
        at_most(squared_norm(case, lam), bound(case), scale=ROUNDINGS * bound(case)) for lam in ridge_grid(case.kernel)
    )


def halves(case: RealClass) -> tuple[np.ndarray, np.ndarray]:
    """The images at even and at odd places, 100 each."""
    places = np.arange(len(case.logits))
    return places[::2], places[1::2]


def regressed(case: RealClass, columns: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Least squares on one half of the images, predictions on the other."""
    fit, rest = halves(case)
    return columns[rest] @ np.linalg.lstsq(columns[fit], targets[fit], rcond=None)[0]


def last_layer(case: RealClass, *, columns: Callable, targets: Callable) -> Margin:
    """Plain regression of the logits on (h, 1) gives the network's logits on images that it has not seen."""
    fit, rest = halves(case)
    size = np.linalg.cond(case.head[fit]) * float(np.abs(case.logits).max())
    return equal(regressed(case, columns(case), targets(case)), case.logits[rest], scale=ROUNDINGS * size)


def kernel_half(case: RealClass) -> float:
    """The root mean squared error on the odd images of ridge regression on the even ones, over the logits' own size.

    The ridge is 0.01 of the mean diagonal.
    """
    fit, rest = halves(case)
    weights = ridge_weights(case.factor[fit], case.logits[fit], 0.01 * case.total / len(case.kernel))
    gap = case.factor[rest] @ weights - case.logits[rest]
    return float(np.linalg.norm(gap) / np.linalg.norm(case.logits[rest]))


def one_hot(case: RealClass) -> np.ndarray:
    """Targets from the labels: one-hot less 1 / C."""
    return (case.labels == case.index) - 1 / len(real_classes())


def _theorem_r() -> tuple[Measurement, ...]:
    return (
        shown(
            "largest gap between f and its representation",
            "rounding",
            lambda c: np.abs(c.head @ c.weights - c.logits).max(),
        ),
        shown(
            "norm of f in the kernel's space, on the sample",
            "at most the norm of (W, b):",
            lambda c: np.sqrt(squared_norm(c, ridge_grid(c.kernel)[0])),
            lambda c: np.linalg.norm(c.weights),
        ),
        shown(
            "the same for one-hot targets",
            "none",
            lambda c: np.sqrt(one_hot(c) @ dual_coefficients(c.kernel, one_hot(c), ridge_grid(c.kernel)[0])),
        ),
        shown("rank of (h, 1), of 65", "at most 65; 65 determines the head", lambda c: np.linalg.matrix_rank(c.head)),
        shown(
            "last-layer regression on 100 images, relative error on 100 others",
            "rounding",
            lambda c: np.linalg.norm(regressed(c, c.head, c.logits) - c.logits[1::2]) / np.linalg.norm(c.logits[1::2]),
        ),
        shown(
            "kernel ridge regression on the same 100, ridge 0.01 of the mean diagonal",
            "no bound but that of 9.2",
            kernel_half,
        ),
        shown(
            "share of |K|_F in the head's kernel",
            "at most 1",
            lambda c: np.linalg.norm(c.head @ c.head.T) / np.linalg.norm(c.kernel),
        ),
    )


THEOREM_R = Statement(
    label="real_theorem_r",
    row="Theorem R, exact representability of logits",
    readings=(
        Reading(
            key=AS_MEASURED,
            formula=r"f_c(x)=\phi_c(x)^\top w_0,\quad\|f_c\|_{\mathcal{H}_K}\leq\|(W_c,b_c)\|_2",
            verdict=Verdict.HOLDS,
            steps=(
                Step(
                    claim="the logits are the head gradients times the head's weights",
                    check=represented,
                    cases=real,
                    twins=(
                        Twin("bias dropped", {"weights": lambda c: np.append(c.weights[:-1], 0.0)}),
                        Twin(
                            "the next class's weights",
                            {"weights": lambda c: real_classes()[(c.index + 1) % 10].weights},
                        ),
                    ),
                    sides={"weights": lambda c: c.weights},
                ),
                Step(
                    claim="the head's kernel is a part of K",
                    check=holds_head,
                    cases=real,
                    twins=(
                        Twin("ten times", {"times": 10.0}),
                        Twin("a hundred times", {"times": 100.0}),
                    ),
                    sides={"times": 1.0},
                ),
                Step(
                    claim="norm bound, at every ridge of the grid",
                    check=norm_bounded,
                    cases=real,
                    twins=(
                        Twin("a twentieth of the squared norm", {"bound": lambda c: 0.05 * c.weights @ c.weights}),
                        Twin("the bias alone", {"bound": lambda c: c.weights[-1] ** 2}),
                    ),
                    sides={"bound": lambda c: float(c.weights @ c.weights)},
                ),
                Step(
                    claim="last-layer regression reproduces the logits of unseen images",
                    check=last_layer,
                    cases=real,
                    twins=(
                        Twin("without the constant", {"columns": lambda c: c.head[:, :-1]}),
                        Twin("labels as targets", {"targets": one_hot}),
                        Twin("half the features", {"columns": lambda c: c.head[:, ::2]}),
                    ),
                    sides={"columns": lambda c: c.head, "targets": lambda c: c.logits},
                ),
            ),
            measured=_theorem_r,
            note="a last layer fitted by plain regression has no error to speak of: fidelity figures are to be read "
            "against it",
        ),
    ),
    table=REAL,
)

STATEMENTS = (SEC_4_2, SEC_4_2_JL, REM_B_5, THEOREM_R)
