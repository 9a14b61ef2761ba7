"""The one table: paper symbol | name | shape | scale | where.

A name is `module.function`, `module.function:argument` or `module.Class:field`; a test reads the table and looks each of
them up. Letters of shapes: n inputs, m inducing inputs or synthetic gradients, P parameters, k projected dimension,
C logits, d hidden features, H clusters, T tasks, r and q ranks, N population.
"""

from dataclasses import dataclass

__all__ = ["NOTATION", "Symbol"]


@dataclass(frozen=True)
class Symbol:
    """One row: what the paper writes, what we call it, its shape, its scale, and where it stands in the paper."""

    symbol: str
    name: str
    shape: str
    scale: str
    where: str


def _rows(text: str) -> tuple[Symbol, ...]:
    """One symbol per line, five cells apart by |."""
    return tuple(Symbol(*(cell.strip() for cell in line.split(" | "))) for line in text.strip().splitlines())


NOTATION = _rows("""
theta | network.flatten | (P,) | as trained; layer by layer, weight row by row, then bias | Eq 13
f(X) | network.forward | (C, n) | logits | Eq 13
h^(L-1)(x), f_e(x) | network.penultimate | (n, d) | input of the affine head | Eq 13, section 4.1
J(x), phi_c(x) | network.jacobian | (C, n, P) | gradient of a logit by all parameters | Eq 1
dF delta | kernel.differential | (n,) | first-order change of a logit | Eq 14
Phi | kernel.gram:features | (n, P) | gradients of one logit, one row per input | Eq 1
K | kernel.gram | (n, n) | Phi Phi^T, un-normalised | Eq 1
K_XS | kernel.cross_gram | (n, m) | Phi Phi_S^T | Eq 9
K(x, x') all logits | kernel.ntk_block | (C, C, n, n) | J(x) J(x')^T | Eq 1
K_c all classes | kernel.class_kernels | (C, n, n) | diagonal blocks | Eq 1
<., .>_{T Theta} | kernel.riemannian_kernel | (n, n) | inverse metric | Eq 15
n^2 C^2 P and the rest | kernel.resource_counts | integers | multiply-adds and entries | section 3.1
K_Pi | kernel.projected_kernel | (n, n) | Phi Pi Phi^T | Eq 7
K_{Pi_S} | kernel.inducing_point_kernel | (n, n) | K_XS K_SS^+ K_SX | Eq 9
K - K_Pi | kernel.kernel_residual_norms | norms | Frobenius, spectral, trace | Eq 10
R = Phi (I - Pi)^{1/2} | kernel.residual_factor | (n, P) | E = R R^T | after Eq 10
right side of (10), R1 | kernel.kernel_bound_r1_printed | scalar | energy; projectors only | Eq 10
right side of (10), R2 | kernel.kernel_bound_r2_printed | scalar | energy | Eq 10
right side of (10), R3 | kernel.kernel_bound_r3_printed | scalar | energy | Eq 10
lambda_j | redundancy.spectrum | (n,) | descending, clipped at 0 | def_3_1
epsilon | redundancy.truncation_rank:epsilon | scalar | share of the trace left out | Def 3.1
gamma | redundancy.data_redundant_r1:gamma | scalar | n / r, above 1 | Def 3.1
r_eps(K) | redundancy.truncation_rank | integer | directions | Def 3.1
eps tr K | redundancy.subset_bound_printed | scalar | trace | Def 3.1, gloss
(r + 1) sum_{i>r} lambda_i | redundancy.volume_sampling_bound | scalar | trace | Def 3.1, gloss
Proj_V(Phi) ratio, R1 | redundancy.parameter_redundancy_r1 | scalar | ratio of Frobenius norms | Def 3.2
Proj_V(Phi) ratio, R2 | redundancy.parameter_redundancy_r2 | scalar | ratio of energies | Def 3.2
min over V, R1 | redundancy.parameter_redundancy | scalar | ratio of Frobenius norms | Def 3.2
sum_{i>r} lambda_i^2 | redundancy.truncation_error_squared | scalar | squared Frobenius norm | Eq 23
right side of (24), R1 | redundancy.tail_bound_r1_printed | scalar | squared Frobenius norm | Eq 24
right side of (24), R2 | redundancy.tail_bound_r2_printed | scalar | squared Frobenius norm | Eq 24
n mean(lambda)^2 | redundancy.energy_floor_printed | scalar | squared Frobenius norm | Eq 25
eps', R1 | redundancy.redundancy_bound_r1_printed | scalar | ratio of Frobenius norms | Prop B.6
eps', R2 | redundancy.redundancy_bound_r2_printed | scalar | ratio of Frobenius norms | Prop B.6
kappa eps / (1 - eps + kappa eps) | redundancy.improved_redundancy_bound_gap | scalar | its root | Prop B.6, improved
rho | redundancy.participation_ratio | scalar | between 1 and n | section 4.2, Rem B.5
theta* (S) | gradient_distillation.synthetic_weights | (k,) | inner argmin, linearised model, squared loss, ridge | Eq 2
J_S | subspace.stacked_gradients | (mC, P) | rows by input, then logit | Eq 3
T_S | subspace.span_basis | (P, r) | orthonormal columns | Eq 3
J_S J_S^T | joint.block_kernel | (m C, m C) | rows by input, then logit; one weight vector for all logits | Eq 3
Pi_S | subspace.span_projector | (P, P) | orthogonal projector | Eq 8
|Phi (I - Pi_S)|_F^2 | subspace.projection_residual | scalar | energy | section 3.3
PCA tail | subspace.EnergyGap:tail | scalar | energy | Eq 11
misalignment | subspace.EnergyGap:misalignment | scalar | energy | Eq 11
Pi_r | subspace.top_projector | (P, P) | orthogonal projector | Prop 3.6
Theta | subspace.principal_angles | (r,) | radians, ascending | after Prop 3.6
Sigma_g | subspace.second_moment | (P, P) | uncentred | Cor 3.5
sum_{i>r} mu_i | subspace.smallest_gradient_residual | scalar | energy | Cor 3.5
L_phi | subspace.lipschitz_constant | scalar | gradient per feature distance | lemma_w
varsigma | regret.cross_entropy_sensitivity | (C, m) | derivative of the loss by the logits | Lemma C.1
nabla L_S | regret.loss_gradient | (P,) | mean over inputs | Eq 4
L | regret.quadratic_model:smoothness | scalar | Lipschitz constant of the gradient | Thm 3.3
Q_t | regret.quadratic_model | scalar | loss | Thm 3.3
Delta_t^* | regret.optimal_step | (P,) | step of parameters | Thm 3.3
left side of (5), R1 | regret.model_regret | scalar | loss | Eq 5
left side of (5), R2 | regret.true_to_model_regret | scalar | loss | Eq 5
left side of (5), R3 | regret.true_regret | scalar | loss | Eq 5
right side of (5) | regret.regret_bound_printed | scalar | loss | Eq 5
(L/2) norm(Delta - Delta*)^2 | regret.exact_regret | scalar | loss | after Eq 5
c = 2 | regret.true_regret_bound_smooth | scalar | loss | 3.3.2
c = 1 | regret.true_regret_bound_convex | scalar | loss | 3.3.2
E norm(Pi_S g_t)^2 / 2L | regret.adaptive_decrease | scalar | loss | Eq 6
tr(Pi_S Cov(g) Pi_S) / 2L | regret.RegretDecomposition:irreducible | scalar | loss | after Thm 3.3
I_h | locality.clusters | H index arrays | by increasing label | section 3.4
U_g | locality.global_basis | (n, r) | orthonormal | section 3.4
U_h, Pi_loc | locality.LocalBasis:basis | (n, r) | orthonormal, zero-padded | section 3.4
r_h | locality.LocalBasis:ranks | (H,) | 0 for a zero cluster | section 3.4
property (A) | locality.property_a_r1 | (H,) | share of variance | Eq 12
property (B), delta | locality.property_b | scalar | share of a direction | section 3.4
norm(Pi_loc u_j)^2 | locality.true_coverage | (r,) | share of a direction | section 3.4
c_jh, w_jh | locality.cluster_coverage | (r, H) | shares | Algorithm 1, stage 3
tau_g | locality.gap_set:threshold | scalar | share of a direction | Algorithm 1, stage 3
G | locality.gap_set | indices | from 0 | Algorithm 1, stage 3
G_op | locality.gap_operator | (r, r) | shares | section 3.4
W | locality.optimal_completion | (n, q) | orthonormal | section 3.4
nu_c = sum_j w_j delta_{b_j} | barycenter.barycenter | (m, d) and (m,) | weights of sum 1 | section 4.1
W_2^2 | barycenter.wasserstein | scalar | squared distance | section 4.1
A^T | projection.draw | (P, k) | E A^T A = I, acts on the right | section 4.2
Var <Au, Av> | projection.inner_product_variance | scalar | squared inner product | section 4.2
k_min | projection.smallest_dimension | integer | dimensions | section 4.2
U_a | gradient_distillation.SyntheticGradients:synthesis | (n, m) | columns are weight vectors | Algorithm 1
hat Phi_c | gradient_distillation.SyntheticGradients:features | (m, k) | U_a^T Phi_c | Algorithm 1
hat y_c | gradient_distillation.SyntheticGradients:targets | (m,) | U_a^T y_c | Algorithm 1
K_U | gradient_distillation.synthesised_kernel | (n, n) | K U (U^T K U)^+ U^T K | section 4.4
w_R | gradient_distillation.restricted_weights | (P,) | same ridge | section 4.3
lambda | ridge.dual_coefficients:lam | scalar | un-normalised: K + lambda I | Eq 16
alpha | ridge.dual_coefficients | (n,) | un-normalised ridge | Eq 16
(Phi Phi^T + lambda I)^{-1} | ridge.woodbury_inverse | (n, n) | un-normalised ridge | Eq 17
hat f(x_*) | ridge.dual_prediction | (n,) | logits | Eq 18
w_* | ridge.ridge_weights | (P,) | un-normalised ridge | eq_16_18
w_0 | ridge.head_weights | (C, P) | (0; W_c, b_c) | theorem_r
d_eff | ridge.effective_dimension | scalar | between 0 and n | effective_dimension
ell_i | ridge.leverage | (n,) | between 0 and 1 | effective_dimension
lambda_B | error.bias:lam_mean | scalar | lambda / n | section B.1
hat f, Definition B.1 | error.fitted_values | (N,) | logits | Eq 19
w^* | error.best_weights | (P,) | least squares over the population | Eq 20
epsilon_a, epsilon_b, epsilon_v | error.decomposition | three of (N,) | logits | Eq 21
hat w_lambda | error.sample_weight_terms | two of (P,) | ridge lambda_B | Eq 22
""")
