"""How far a predictor is from the full kernel machine, and the way there: residuals, bounds, conjugate gradients."""
