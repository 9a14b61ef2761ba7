"""Local and global structure: the fast path and the reference say the same, class by class."""

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from dntk_fast.kernels.locality import gap_operator, locality, optimal_completion, restricted_completion
from dntk_ref.locality import (
    gap_operator as reference_gap_operator,
)
from dntk_ref.locality import (
    global_basis,
    local_basis,
)
from dntk_ref.locality import (
    locality as reference_locality,
)
from dntk_ref.locality import (
    optimal_completion as reference_optimal,
)
from dntk_ref.locality import (
    restricted_completion as reference_restricted,
)
from tests.fast.stacks import partitioned_stacks
from tests.kinds import CLOSE, ROUNDED, back, kinds, to
from tests.strategies import epsilons
from tests.tolerances import TOL

thresholds = st.sampled_from([0.3, 0.6, 0.9])


def compare(found, kernels, labels, settings, tolerance):
    """Every field of every class, without its padding."""
    for c, K in enumerate(kernels):
        expected = reference_locality(K, labels, **settings)
        r, M = expected.global_rank, expected.local_basis.shape[1]
        assert int(found.global_rank[c]) == r
        assert back(found.local_ranks)[c].tolist() == expected.local_ranks.tolist()
        B = back(found.local_basis)[c]
        np.testing.assert_allclose(B @ B.T, expected.local_basis @ expected.local_basis.T, **tolerance)
        assert not B[:, M:].any()
        for name in ("coverage", "true_coverage"):
            value = back(getattr(found, name))[c]
            np.testing.assert_allclose(value[:r], getattr(expected, name), **tolerance)
            assert not value[r:].any()
        assert np.flatnonzero(back(found.gap)[c]).tolist() == expected.gap.tolist()
        for name in ("weighted_gap", "unweighted_gap", "property_a", "property_a_null"):
            np.testing.assert_allclose(back(getattr(found, name))[c], getattr(expected, name), **tolerance)


@kinds
@given(case=partitioned_stacks(), local=epsilons, overall=epsilons, threshold=thresholds)
def test_every_field_agrees(kind, case, local, overall, threshold):
    kernels, labels = case
    settings = {"epsilon_local": local, "epsilon_global": overall, "coverage_threshold": threshold}
    compare(locality(to(kind, kernels), to(kind, labels), **settings), kernels, labels, settings, CLOSE)


@kinds
@given(case=partitioned_stacks(sizes=(2, 5)), threshold=thresholds)
def test_float32_gives_the_answer_to_its_own_numbers(kind, case, threshold):
    kernels, labels = case[0].astype("float32"), case[1]
    settings = {"epsilon_local": 0.1, "epsilon_global": 0.1, "coverage_threshold": threshold}
    found = locality(to(kind, kernels, "float32"), to(kind, labels), **settings)
    compare(found, kernels.astype("float64"), labels, settings, ROUNDED)


@kinds
@given(case=partitioned_stacks(sizes=(3, 6)), data=st.data())
def test_operators_and_completions_agree(kind, case, data):
    K, labels = case[0][0], case[1]
    U, B = global_basis(K, 0.1), local_basis(K, labels, 0.3).basis
    found = gap_operator(to(kind, U), to(kind, B))
    np.testing.assert_allclose(back(found), reference_gap_operator(U, B), **CLOSE)
    assume(B.shape[1] < len(K))
    q = data.draw(st.integers(0, len(K) - B.shape[1]))
    for fast, reference in ((optimal_completion, reference_optimal), (restricted_completion, reference_restricted)):
        W, expected = back(fast(to(kind, K), to(kind, B), q)), reference(K, B, q)
        # Compared by what they capture: near-equal eigenvalues leave the directions themselves open.
        residual = K if fast is optimal_completion else K - K @ B @ np.linalg.pinv(B.T @ K @ B) @ B.T @ K
        np.testing.assert_allclose(
            np.linalg.eigvalsh(W.T @ residual @ W), np.linalg.eigvalsh(expected.T @ residual @ expected), **CLOSE
        )
        np.testing.assert_allclose(W.T @ W, np.eye(q), **CLOSE)
        np.testing.assert_allclose(B.T @ W, np.zeros((B.shape[1], q)), rtol=0, atol=TOL["float64"])
