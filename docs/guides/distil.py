"""Distil: the kernel machine from few images, what it costs before it is done, and how far it agrees with the network."""

import tempfile

from dntk_fast import DistilledNTK, build, load, train

# %% A trained network and its data.
digits = load("digits")
x, y, new = digits.x_train[:300], digits.y_train[:300], digits.x_test
model = train(build("conv8", seed=0), x, y, epochs=8, seed=0).model

# %% What it will cost, before any long work.
kernel = DistilledNTK(model, per_class=5, seed=0)
print(kernel.forecast(x, y))

# %% Fifty images, chosen by forward passes; one weight vector for all logits, in the span of their gradients.
kernel.fit(x, y)
agreement = float((kernel.predict(new) == model(new).argmax(1)).float().mean())
print(
    f"{len(kernel.images_)} images, ridge {kernel.lam_:.3g}; agrees with the network on {agreement:.3f} of new digits"
)
assert agreement > 0.9

# %% Weights and places of the images are kept, pictures only if asked; another network is refused.
with tempfile.TemporaryDirectory() as folder:
    kernel.save(folder + "/digits")
    again = DistilledNTK.load(folder + "/digits", model)
    assert (again.predict(new) == kernel.predict(new)).all()
    try:
        DistilledNTK.load(folder + "/digits", build("conv8", seed=1).eval())
    except ValueError as error:
        print("refused:", str(error)[:60], "...")
