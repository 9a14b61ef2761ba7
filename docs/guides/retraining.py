"""What would retraining say? Without some images, with doubtful labels, for inputs unlike the training data."""

import torch

from dntk_fast import Retraining, Uncertainty, build, load, train

# %% A trained network; one label in twenty is wrong, so that there is something to find.
digits = load("digits")
x, y = digits.x_train[:240], digits.y_train[:240].clone()
wrong = torch.arange(0, 240, 20)
y[wrong] = (y[wrong] + 1) % 10
model = train(build("conv8", seed=0), x, y, epochs=6, seed=0).model

# %% Trained without these images, what would it answer? No training: a downdate of one solve.
machine = Retraining(model).fit(x, y)
new = digits.x_test[:50]
before, after = machine.logits(new), machine.without(wrong.tolist(), new)
print(
    f"ridge {machine.lam_:.3g}; without {len(wrong)} images the answers move by {float((after - before).abs().mean()):.4f}"
)

# %% Labels that all other images speak against, the worst first.
worst = machine.suspicious_labels().rows[: len(wrong)]
caught = len(set(worst.tolist()) & set(wrong.tolist()))
print(f"of the {len(wrong)} most suspicious labels {caught} are the wrong ones")
assert caught > len(wrong) // 2

# %% Which inputs are unlike the training data? The predictive variance says it, without any labels.
unsure = Uncertainty(model).fit(x)
usual, unusual = unsure.shift_score(new), unsure.shift_score(new.flip(2))
print(f"shift score: digits {float(usual.mean()):.4f}, digits upside down {float(unusual.mean()):.4f}")
assert unusual.mean() > usual.mean()
