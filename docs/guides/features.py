"""Projected features in memory and on disk: as many numbers as you ask for, kept in checked shards."""

import tempfile

import torch

from dntk_fast import FeatureStore, Jacobian, build, load, tangent_features, write_features

# %% 512 numbers for each image and logit instead of P; the last layer's gradient is kept exactly beside them.
x = load("digits").x_train[:96]
model = build("conv8", seed=0).eval()
features = tangent_features(model, x, k=512, seed=0)
print("parameters:", sum(p.numel() for p in model.parameters()), "features:", tuple(features.values.shape))

# %% Their kernel is that of all gradients up to a sketch error, which the features estimate themselves.
K, found = Jacobian(model).kernel(x), features.values.double()
error = torch.linalg.norm(found @ found.mT - K) / torch.linalg.norm(K)
print(f"kernel error {float(error):.3f}; estimated for the body alone {float(features.sketch_error):.3f}")
assert error < 0.1

# %% Ten thousand images do not fit? Write shards; an interrupted run goes on where it stopped.
with tempfile.TemporaryDirectory() as folder:
    write_features(folder, model, x, k=512, seed=0, shard_rows=32)
    store = FeatureStore(folder)
    print("shards:", store.shards, "rows:", len(store))
    assert torch.equal(store.values, features.values)
    gram = sum(part.values.double().mT @ part.values.double() for part in store)  # one shard in memory at a time
    print("second moment from shards", tuple(gram.shape))
