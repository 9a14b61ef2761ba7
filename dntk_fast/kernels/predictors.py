"""From features or kernels and targets to a ridge predictor with its ridge chosen, and the scores of what it says."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from dntk_fast._arrays import eigh
from dntk_fast.kernels.ridge import RidgeSpectrum, choose_ridge, grid_at, ridge_spectrum

__all__ = ["Fit", "KernelProblem", "Scores", "fit_features", "scores", "weigh_rows"]


@dataclass(frozen=True)
class Scores:
    """Shares in [0, 1] and squared errors over held-out points and logits."""

    accuracy: float
    fidelity: float
    mse: float
    mse_relative: float


@dataclass(frozen=True)
class Fit:
    """A ridge predictor's held-out predictions (C, n_test), its weights (C, k) or coefficients (C, n), and its ridge."""

    predictions: Tensor
    weights: Tensor
    lam: float
    lam_relative: float
    on_edge: bool
    effective_dimension: float
    n: int


def scores(predictions: Tensor, logits: Tensor, labels: Tensor) -> Scores:
    """Hold predictions against the network's logits and the labels.

    Parameters
    ----------
    predictions, logits : (C, n)
        Ties between classes go to the smallest index.
    labels : (n,)

    Returns
    -------
    Scores
        accuracy = share with argmax f_hat = label; fidelity = share with argmax f_hat = argmax f;
        mse = mean (f_hat - f)^2; mse_relative = mse / Var(f).

    Examples
    --------
    >>> scores(torch.eye(2), torch.eye(2), torch.tensor([0, 0])).accuracy
    0.5
    """
    guess, network = predictions.argmax(0), logits.argmax(0)
    mse = float((predictions.double() - logits.double()).square().mean())
    return Scores(
        float((guess == labels).double().mean()),
        float((guess == network).double().mean()),
        mse,
        mse / float(logits.double().var(correction=0)),
    )


@dataclass(frozen=True, eq=False)
class KernelProblem:
    """A class kernel (C, n, n) and its block against held-out points (C, n_test, n), decomposed once for many targets."""

    kernel: Tensor
    cross: Tensor

    @cached_property
    def pair(self) -> tuple[Tensor, Tensor]:
        """Eigenvalues (C, n), descending and clipped at zero, and eigenvectors (C, n, n), in float64."""
        return eigh(self.kernel.double())

    def fit(self, targets: Tensor, *, lam: float | None = None) -> Fit:
        """Solve (K_c + lam I) alpha_c = y_c (Eq 16) in float64, with the ridge that leave-one-out chooses.

        Parameters
        ----------
        targets : (C, n)
        lam : float or None
            Un-normalised ridge; None chooses it from 1e-6 ... 10 times the mean of diag K (`choose_ridge`).

        Returns
        -------
        Fit
            Its weights are the coefficients alpha.
        """
        K = self.kernel.double()
        spectrum = RidgeSpectrum.of_kernel(K, targets.double(), self.pair)
        scale = float(K.diagonal(dim1=-2, dim2=-1).mean())
        lam, edge = _ridge(spectrum, scale) if lam is None else (lam, False)
        alpha = spectrum.alpha(lam)
        predictions = (self.cross.double() @ alpha[..., None])[..., 0]
        freedom = float(spectrum.effective_dimension(lam).mean())
        return Fit(predictions, alpha, lam, lam / scale, edge, freedom, K.shape[-1])


def fit_features(features: Tensor, targets: Tensor, test: Tensor, *, lam: float | None = None) -> Fit:
    """Solve the same ridge regression from features, in float64, from one eigendecomposition of the smaller side.

    Parameters
    ----------
    features : (C, n, k)
    targets : (C, n)
    test : (C, n_test, k)
    lam : float or None
        As in `KernelProblem.fit`.

    Returns
    -------
    Fit
        With weights (C, k).
    """
    Phi = features.double()
    spectrum = ridge_spectrum(Phi, targets.double())
    scale = float(Phi.square().sum(-1).mean())
    lam, edge = _ridge(spectrum, scale) if lam is None else (lam, False)
    weights = spectrum.weights(lam)
    predictions = torch.einsum("ctk,ck->ct", test.double(), weights)
    freedom = float(spectrum.effective_dimension(lam).mean())
    return Fit(predictions, weights, lam, lam / scale, edge, freedom, Phi.shape[-2])


def weigh_rows(features: Tensor, targets: Tensor, masses: Tensor) -> tuple[Tensor, Tensor]:
    """Scale rows and targets so that a plain ridge solve is the one weighted by the barycentre's masses (4.1).

    sum_j omega_j (phi_j . w - y_j)^2 is the plain squared loss of sqrt(omega_j) phi_j and sqrt(omega_j) y_j; omega is the
    masses over their mean, so that the ridge keeps its scale.

    Parameters
    ----------
    features : (C, n, k)
    targets : (C, n)
    masses : (n,)

    Examples
    --------
    >>> rows, y = weigh_rows(torch.ones(1, 2, 1), torch.ones(1, 2), torch.tensor([0.8, 0.2]))
    >>> [round(float(v), 3) for v in y[0] ** 2]
    [1.6, 0.4]
    """
    root = (masses / masses.mean()).sqrt().to(features.dtype)
    return features * root[None, :, None], targets.to(features.dtype) * root[None, :]


def _ridge(spectrum: RidgeSpectrum, scale: float) -> tuple[float, bool]:
    """The ridge that leave-one-out chooses (one loss for each ridge and point), and whether it is the first or last."""
    grid = torch.from_numpy(grid_at(scale))
    residuals = torch.stack([spectrum.leave_one_out(float(lam)) for lam in grid])  # (L, C, n)
    choice = choose_ridge(residuals.square().mean(1), grid)
    return float(choice.lam), bool(choice.on_edge)
