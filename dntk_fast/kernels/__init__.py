"""What is made of kernels and features: ridge regression, spectra, subspaces, local structure, second moments."""
