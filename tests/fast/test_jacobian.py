"""A model's Jacobian: looked at once, the same numbers as by definition, and never those of a model that has changed."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse.linalg import aslinearoperator, lsqr
from torch import nn

from dntk_fast import Jacobian, _device, tangent_features, tangent_kernel
from dntk_fast.tangent import batches, jacobian
from tests.fast.plain import close
from tests.tolerances import TOL


class Network(nn.Module):
    """Convolution, BatchNorm with statistics of its own, a use of the first weight twice, and a linear head."""

    def __init__(self, seed=0, outputs=3):
        super().__init__()
        torch.manual_seed(seed)
        self.conv, self.norm, self.head = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, outputs)
        self.norm.running_mean.normal_()
        self.norm.running_var.uniform_(0.5, 2.0)
        self.scale = nn.Parameter(torch.rand(()) + 0.5)

    def forward(self, x):
        h = torch.tanh(self.norm(self.conv(x))) * self.scale
        return self.head((h * h).mean((2, 3)))


def network(**options):
    return Network(**options).double().eval()


def samples(n=5, size=5, seed=1):
    return torch.randn(n, 2, size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rows(model, x):
    """The Jacobian by plain backward passes, (n, C, P)."""
    leaves = [p for p in model.parameters() if p.requires_grad]
    found = []
    for one in x:
        outputs = model(one[None])[0]
        grads = [torch.autograd.grad(value, leaves, retain_graph=True) for value in outputs]
        found.append(torch.stack([torch.cat([g.reshape(-1) for g in parts]) for parts in grads]))
    return torch.stack(found)


def test_every_method_is_its_definition():
    model, x, y = network(), samples(), samples(3, seed=2)
    J, G, H = Jacobian(model), rows(model, x), rows(model, y)
    assert close(J.kernel(x), torch.einsum("icp,jcp->cij", G, G))
    assert close(J.kernel(x, y), torch.einsum("icp,jcp->cij", G, H))
    assert close(J.kernel_sum(x, y), torch.einsum("icp,jcp->ij", G, H))
    assert close(J.kernel_full(x, y), torch.einsum("icp,jdp->icjd", G, H))
    assert close(J.diagonal(x), G.square().sum(2).T)
    w = {name: torch.randn(3, *p.shape, dtype=p.dtype) for name, p in model.named_parameters()}
    flat = torch.cat([value.reshape(3, -1) for value in w.values()], 1)
    assert close(J.matvec(x, w), torch.einsum("icp,cp->ci", G, flat))
    a = torch.randn(3, 5, dtype=torch.float64)
    pulled = torch.cat([value.reshape(3, -1) for value in J.rmatvec(x, a).values()], 1)
    assert close(pulled, torch.einsum("icp,ci->cp", G, a))
    assert close(J.kernel_vector(x, a), torch.einsum("cij,cj->ci", J.kernel(x), a))
    assert not close(J.kernel(x), J.kernel(y[[0, 0, 0, 0, 0]]), TOL["apart"])


@given(st.integers(0, 2**16))
def test_the_operator_is_the_matrix_of_all_rows(seed):
    model, x = network(seed=seed % 7, outputs=2), samples(3, seed=seed)
    A = Jacobian(model).operator(x)
    G = rows(model, x).flatten(0, 1).numpy()
    rng = np.random.default_rng(seed)
    v, u = rng.standard_normal(G.shape[1]), rng.standard_normal(G.shape[0])
    assert A.shape == G.shape
    assert A.dtype == np.float64
    assert np.allclose(A.matvec(v), G @ v, rtol=1e-9, atol=1e-9)
    assert np.allclose(A.rmatvec(u), G.T @ u, rtol=1e-9, atol=1e-9)
    assert np.isclose(u @ A.matvec(v), A.rmatvec(u) @ v, rtol=1e-9)
    assert not np.allclose(A.matvec(v), G.reshape(3, 2, -1).transpose(1, 0, 2).reshape(6, -1) @ v)  # outputs first


def test_scipy_solves_with_the_operator():
    model, x = network(), samples(4)
    A, G = Jacobian(model).operator(x), rows(model, x).flatten(0, 1).numpy()
    y = np.arange(12.0)
    found = lsqr(A, y, damp=0.5, atol=1e-14, btol=1e-14, iter_lim=2000)[0]
    expected = np.linalg.solve(G.T @ G + 0.25 * np.eye(G.shape[1]), G.T @ y)
    assert np.allclose(found, expected, atol=1e-8 * abs(expected).max())
    assert np.allclose(aslinearoperator(A).matmat(np.eye(G.shape[1])[:, :3]), G[:, :3], atol=1e-12)


def test_the_model_is_looked_at_once_for_each_kind_of_batch(monkeypatch):
    looks, honest = [], jacobian.inspect
    monkeypatch.setattr(jacobian, "inspect", lambda *a, **k: looks.append(1) or honest(*a, **k))
    J, x = Jacobian(network()), samples()
    first = J.kernel(x)
    assert torch.equal(J.kernel(x), first)
    assert close(J.kernel(samples(3, seed=4)), tangent_kernel(J.model, samples(3, seed=4)))
    J.diagonal(x)
    assert len(looks) == 2  # and once by the function
    J.kernel(samples(3, size=6))
    assert len(looks) == 3
    features = J.features(x, k=8, seed=0)
    assert torch.equal(J.features(x, k=8, seed=0).values, features.values)
    assert len(looks) == 4  # of the body alone
    assert torch.equal(tangent_features(J.model, x, k=8, seed=0).values, features.values)


def test_a_copy_in_another_precision_is_made_once(monkeypatch):
    copies, honest = [], copy.deepcopy
    monkeypatch.setattr(batches, "copy", SimpleNamespace(deepcopy=lambda part: copies.append(1) or honest(part)))
    model = network().float()
    J, x = Jacobian(model, dtype=torch.float64), samples()
    w = {name: p.detach() for name, p in model.named_parameters()}
    for _ in range(3):
        J.matvec(x, w)
        J.kernel(x)
    assert len(copies) == 1
    single = Jacobian(model)
    assert single.to(torch.float64) is single.to(torch.float64)
    assert len(copies) == 2
    assert close(single.to(torch.float64).kernel(x), J.kernel(x))
    assert single.kernel(x.float()).dtype == torch.float64
    assert all(p.dtype == torch.float32 for p in model.parameters())


def _vector(model):
    flat = nn.utils.parameters_to_vector(model.parameters()).detach()
    nn.utils.vector_to_parameters(flat.flip(0), model.parameters())


CHANGES = {
    "in place": ("head.weight", lambda m: m.head.weight.detach().mul_(2)),
    "through data": ("conv.weight", lambda m: m.conv.weight.data.add_(1e-12)),
    "entries that change places": ("conv.weight", lambda m: m.conv.weight.data.copy_(m.conv.weight.data.flip(0))),
    "a vector": ("scale", _vector),
    "another parameter": ("head.bias", lambda m: setattr(m.head, "bias", nn.Parameter(m.head.bias.detach().clone()))),
    "another storage": ("head.bias", lambda m: m.head.bias.__setattr__("data", m.head.bias.data.clone())),
    "frozen": ("scale", lambda m: m.scale.requires_grad_(False)),
    "a buffer": ("norm.running_mean", lambda m: m.norm.running_mean.data.add_(1)),
    "another type": ("scale", lambda m: m.float()),
    "mode of a part": ("conv (module)", lambda m: m.conv.train()),
    "a hook": ("norm (module)", lambda m: m.norm.register_forward_hook(lambda part, given, found: 2 * found)),
    "another part": ("norm.weight", lambda m: setattr(m, "norm", nn.Identity())),
    "another forward": ("head (module)", lambda m: setattr(m.head, "forward", lambda x: x[:, :3])),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_model_that_changed_is_refused_by_the_name_of_the_part(change):
    name, work = CHANGES[change]
    model, x = network(), samples()
    J = Jacobian(model)
    w = {name: p.detach().clone() for name, p in model.named_parameters()}
    A = J.operator(x)
    J.kernel(x)
    work(model)
    calls = (
        lambda: J.kernel(x),
        lambda: J.diagonal(x),
        lambda: J.features(x, k=4, seed=0),
        lambda: J.matvec(x, w),
        lambda: J.rmatvec(x, torch.zeros(3, 5)),
        lambda: J.plan(x),
        lambda: J.to(torch.float16),
        lambda: A.matvec(np.zeros(A.shape[1])),
    )
    for call in calls:
        with pytest.raises(
            ValueError, match=r"^model: expected the parameters, .* \(make a new one\), got a change of "
        ) as e:
            call()
        assert str(e.value).endswith(name)


def test_training_mode_is_refused_as_everywhere():
    model = network()
    J = Jacobian(model)
    model.train()
    with pytest.raises(ValueError, match="model: expected evaluation mode"):
        J.kernel(samples())
    with pytest.raises(ValueError, match="model: expected evaluation mode"):
        Jacobian(model)


def test_work_leaves_the_model_as_it_was():
    """A refusal that comes of our own probes would be a false one."""
    J, x = Jacobian(network()), samples()
    for _ in range(2):
        J.kernel(x), J.features(x, k=4, seed=0), J.matvec(x, {"scale": torch.ones(())})
        J.kernel(x, samples(2, size=6))


def test_bad_arguments_are_refused():
    model, x = network(), samples()
    with pytest.raises(TypeError, match="model: expected"):
        Jacobian("resnet18")
    with pytest.raises(ValueError, match="memory: expected"):
        Jacobian(model, memory=0)
    with pytest.raises(ValueError, match="weights: expected names of trainable parameters, got"):
        Jacobian(model).matvec(x, {"tail": torch.ones(1)})
    with pytest.raises(ValueError, match="out: expected"):
        Jacobian(model).kernel(x, out=torch.zeros(2, 2))


def test_memory_is_an_eighth_of_the_machines_and_stands_in_the_plan(monkeypatch):
    J, x = Jacobian(network()), samples()
    assert J.memory == J.plan(x).memory == J.feature_plan(x, k=4, seed=0).memory == _device.default_memory()
    assert Jacobian(network(), memory=2**20).plan(x).memory == 2**20
    monkeypatch.setattr(_device, "_machine_memory", lambda: 8 * 1000)
    assert _device.default_memory() == 1000
    monkeypatch.setattr(_device, "_group_limits", lambda: iter([2**40, 8 * 77]))
    assert _device.default_memory() == 77


def test_limits_of_control_groups_are_read(tmp_path, monkeypatch):
    """Of a group and of those that hold it, in both versions."""
    own = tmp_path / "proc"
    for name, value in (
        ("new/a/b/memory.max", "max\n"),
        ("new/a/memory.max", "4096\n"),
        ("old/c/memory.limit_in_bytes", "512"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(value)
    places = {"/proc/self/cgroup": own, "/sys/fs/cgroup": tmp_path / "new", "/sys/fs/cgroup/memory": tmp_path / "old"}
    monkeypatch.setattr(_device, "Path", lambda place: places[place])
    own.write_text("0::/a/b\n")
    assert list(_device._group_limits()) == [4096]
    own.write_text("3:cpu,memory:/c\n2:cpu:/x\n")
    assert list(_device._group_limits()) == [512]
    own.unlink()
    assert list(_device._group_limits()) == []
