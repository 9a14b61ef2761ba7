"""How many times the better rule's time the plan's choices cost, on a few layers; `dntk bench plan` times all of them."""

from dntk_fast.bench.plan import choices, compare

from .common import grid

# Layers near the turning points, and one on each far side.
LAYERS = {
    "conv28": ("3.weight", "6.weight", "10.weight"),
    "resnet18": ("layer1.0.conv1.weight", "layer2.0.conv2.weight", "layer2.0.downsample.0.weight"),
    "vit_tiny": ("blocks.0.qkv.weight", "blocks.0.proj.weight", "blocks.0.mlp.2.weight"),
}


class Choice:
    """The largest factor by which a choice misses the better rule: 1 where all are right, 1.3 still counts as right."""

    param_names = ("size",)
    params = [grid(1, every="network", network=tuple(LAYERS), n=(16, 64, 256), k=(512, 2048))]
    timeout = 300.0

    def setup(self, size):
        self.found = [
            choice
            for _, found in choices(size.network, size.n, (size.k,))
            for choice in found
            if choice.layer in LAYERS[size.network]
        ]

    def track_worst_factor(self, size):
        return max(compare(choice)["factor"] for choice in self.found)

    track_worst_factor.unit = "chosen / better"
