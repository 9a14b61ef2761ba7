"""Fewer images and fewer gradients: Wasserstein barycentres and matching, Algorithm 1 and its baselines."""
