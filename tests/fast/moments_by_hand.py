"""The exact variance of a TensorSketch, by enumeration."""

import itertools


def tensorsketch_variance(u, v, k):
    """The sum over pairs of pairs of entries in the docstring, term by term."""
    rows, columns = u.shape
    total = 0.0
    for i, i2 in itertools.combinations(range(rows), 2):
        total += (i // k != i2 // k) / k * float((u[i] * v[i2] + u[i2] * v[i]).sum()) ** 2
    for j, j2 in itertools.combinations(range(columns), 2):
        total += (j // k != j2 // k) / k * float((u[:, j] * v[:, j2] + u[:, j2] * v[:, j]).sum()) ** 2
    for (i, i2), (j, j2) in itertools.product(
        itertools.combinations(range(rows), 2), itertools.combinations(range(columns), 2)
    ):
        law_h, law_g = difference_law(i, i2, k), difference_law(j, j2, k)
        q = sum(law_h[s] * law_g[-s % k] for s in range(k))
        q2 = sum(law_h[s] * law_g[s] for s in range(k) if 2 * s % k == 0)
        x = float(u[i, j] * v[i2, j2] + u[i2, j2] * v[i, j])
        y = float(u[i, j2] * v[i2, j] + u[i2, j] * v[i, j2])
        total += q * (x**2 + y**2) + 2 * q2 * x * y
    return total


def difference_law(i, j, k):
    """Probabilities of h(i) - h(j) mod k."""
    return [0.0] + [1 / (k - 1)] * (k - 1) if i // k == j // k else [1 / k] * k
