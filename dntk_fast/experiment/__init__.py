"""Experiments as settings of what the package computes."""

from dntk_fast.experiment.gradients import eigen_factor, real_gradients, write_arrays

__all__ = ["eigen_factor", "real_gradients", "write_arrays"]
