"""The one table of tolerances: every entry with the reason for its size."""

TOL = {
    # float64 against float64 by another route: 1e-10 relative leaves 4-5 digits for the conditioning of the small
    # instances that the strategies draw (condition numbers up to about 1e4).
    "float64": 1e-10,
    # float32 against float64: unit rounding 6e-8, sums over up to 1e4 products lose two to three digits.
    "float32": 1e-4,
    # A number computed by hand against a few dozen float64 operations on entries of order one: 1e3 unit roundings.
    "hand": 1e-13,
    # How far apart the two sides of a broken twin must be: ten thousand times the "float64" tolerance, so that no
    # rounding can be taken for a difference.
    "apart": 1e-6,
    # The library's log, cos and sin against short series in float64: four unit roundings of values up to 40.
    "elementary": 2e-15,
    # <A u, w> against <u, A^T w>, and a map against its matrix: sums of up to 1e3 float64 products, relative to
    # |A| |u| |w|.
    "adjoint": 1e-12,
    # Solves that see the kernel squared, or a pseudo-inverse of U^T K U for a random U: the condition number of the
    # instances (up to about 1e4) enters twice, and takes eight of the sixteen digits.
    "squared_kernel": 1e-8,
    # The square root of a number that should be zero and is rounding: sqrt(1e-16), with one digit of room.
    "root": 1e-7,
    # Singular values below this share of the largest count as zero: between the least that the strategies make (1e-2)
    # and rounding (1e-15); its square serves eigenvalues.
    "rank": 1e-6,
    # A float64 answer rounded once to float32: eight units of rounding (6e-8), for what is subtracted after it.
    "rounded_to_float32": 5e-7,
    # A central difference with step 1e-4 or 1e-5: h^2 times third derivatives of order one, or rounding 1e-16 / h,
    # whichever is larger, is at most 1e-8; one digit of room.
    "difference": 1e-7,
    # Probabilities far in a tail: an exponent of a few hundred turns sixteen digits into thirteen, special functions
    # and adaptive quadrature (asked for 1e-10) take two or three more.
    "tail": 1e-8,
    # Where a Taylor remainder of order-one logits still stands well above their rounding (1e-16 times a few hundred terms).
    "remainder": 1e-12,
    # A least-squares slope over three decades of the step: third-order terms of order t bend it by a few hundredths.
    "slope": 0.1,
    # The same map in another order of float64 sums (chunks, layers, Fourier domain), relative to the largest feature.
    "features": 1e-12,
    # f_c(x) against phi_c(x) . w_0 in float32: one product of d_h terms in another order.
    "theorem R": 1e-5,
    # A small network in bfloat16 against float64: eight bits of mantissa, 4e-3, through half a dozen layers and back.
    "bfloat16": 5e-2,
    # A minimum over a grid whose neighbours differ by a factor 1.1: at most 5 % beside it, where the function is flat up to
    # a small multiple of the square, 2.5e-3, and its root to half of that.
    "multipliers": 2e-3,
    # Root mean square of a sketch's error over 20 seeds, three images, one map for all logits: the squares scatter by
    # about their mean, so the root by 1 / (2 sqrt(20)) = 0.11; three and a half times that. Half or twice the size is out.
    "sketch error over seeds": 0.4,
    # Root mean square over 4,000 draws of an error whose square scatters by about its mean: 1 / (2 sqrt(4000)) = 0.008,
    # five times that.
    "simulated error": 0.04,
    # How improbable a count of independent trials must be before its stated probability is given up; the seeds are fixed.
    "p-value": 1e-3,
    # A solution with a float32 kernel (1e-5 off), once refined with a float64 residual: the square, three digits of room.
    "polished": 1e-7,
    # MacKay's approximation of a Gaussian average of the logistic function: at most 0.0131 off for means within 6 and
    # variances within 25, by quadrature on a grid.
    "probit": 0.015,
    # A ratio of two numbers that were each written with four digits: 5e-4 each at worst.
    "rounded_to_four_digits": 1e-3,
}
