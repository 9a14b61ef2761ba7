"""Hypothesis strategies shared by the tests: matrices with stated spectra, partitions, targets."""
