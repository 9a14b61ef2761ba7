"""Random projections of parameter gradients: seeded, streamed, the same map whatever the order of the work."""

from dntk_fast.projection.sketch import KINDS, Sketch

__all__ = ["KINDS", "Sketch"]
