"""float64 NumPy/SciPy reference of every theorem-level quantity: obvious, slow, close to the page.

A table of contents: the modules in the order of the paper. Every name lives in its module, `dntk_ref.ridge.leverage`.
"""

from dntk_ref import (  # noqa: I001 - the order is the paper's
    notation as notation,  # the one table: paper symbol, name, shape, scale, where
    network as network,  # small smooth networks with exact parameter Jacobians
    kernel as kernel,  # 3.1: Gram matrices, projected and inducing-point kernels, their residuals
    redundancy as redundancy,  # 3.2 and B.6: truncation rank, parameter redundancy
    subspace as subspace,  # 3.3: span, projector, residual, energy gap, angles
    joint as joint,  # Eq 3: one span and one ridge solve for all logits, leaving out images, captured energy
    regret as regret,  # 3.3: one-step regret
    locality as locality,  # 3.4: properties A and B, coverage, gap directions
    barycenter as barycenter,  # 4.1: Wasserstein barycentre of features
    projection as projection,  # 4.2: random maps, their exact laws, smallest k
    projected_spectrum as projected_spectrum,  # Remark 4.1, the projection step of B.6: what a projection does to spectra
    gradient_distillation as gradient_distillation,  # 4.3: Algorithm 1, its repairs and its baselines
    ridge as ridge,  # A.3: dual, primal, rank-r, leave-one-out, leverage
    error as error,  # B.1: decomposition, bias, variance
    projection_error as projection_error,  # B.2: the error of a projected solve
    spectral as spectral,  # beyond the paper: ranks and traces from few products
    certificate as certificate,  # beyond the paper: bounds on a whole pipeline
    restricted as restricted,  # beyond the paper: the same from kernels alone, and of the restricted solve
    attribution as attribution,  # beyond the paper: the label-target kernel machine without some of its rows
    uncertainty as uncertainty,  # beyond the paper: predictive variance, probabilities, shift
    cases as cases,  # seeded instances and counterexamples
)
