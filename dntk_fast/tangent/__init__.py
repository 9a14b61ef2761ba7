"""From a torch model to tangent features and kernels, never an n x P matrix."""
