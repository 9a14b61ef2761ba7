"""Our ResNet-18 is torchvision's: the same names, the same initial law, the same function."""

import pytest
import torch

from dntk_fast._chance import seeded
from dntk_fast.workflow.models import build
from dntk_fast.workflow.vision import import_torchvision
from tests.tolerances import TOL

torchvision = import_torchvision()


@pytest.fixture(scope="module")
def theirs():
    """Torchvision's network at ten outputs, with statistics and affine maps of BatchNorm that differ from 0 and 1."""
    with seeded(5):
        model = torchvision.models.resnet18(num_classes=10).eval()
        for name, tensor in model.state_dict().items():
            if ("bn" in name or "downsample.1" in name) and tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5)
    return model


def test_initial_weights_are_the_same_bit_for_bit_at_the_same_seed():
    with seeded(7):
        fresh = torchvision.models.resnet18(num_classes=10).state_dict()
    ours = build("resnet18", seed=7).state_dict()
    assert list(ours) == list(fresh)
    assert all(torch.equal(ours[name], fresh[name]) for name in fresh)


@torch.no_grad()
def test_the_function_is_the_same_with_torchvisions_weights(theirs):
    ours = build("resnet18", seed=0)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ours(x), theirs(x), rtol=TOL["float32"], atol=TOL["float32"])
    ours.layer3[0].downsample[1].running_mean += 0.1  # broken twin: one statistic of one shortcut
    assert (ours(x) - theirs(x)).abs().max() > 100 * TOL["float32"]
