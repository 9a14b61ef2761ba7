"""A small record of schema 1 with made-up numbers, for the tests of what shows it."""

import numpy as np


def predictor(**more):
    return {
        "accuracy": 0.9,
        "fidelity": 0.95,
        "mse": 0.1,
        "mse_relative": 0.01,
        "lam": 2.0,
        "lam_relative": 1e-3,
        "on_edge": False,
        "effective_dimension": 12.5,
        "n": 100,
        "method": "dual",
    } | more


def pair(bound, truth):
    return {"bound": bound, "truth": truth, "looseness": bound / truth}


def certificate(passes, bound, **shares):
    pairs = {name: pair(bound, 0.3) for name in ("held_out_rms", "training_rms", "objective")}
    return {"passes": passes, "duality_gap": 2 * bound, "truly_same": 0.95} | pairs | shares


def distance():
    steps = [
        pair(8.0 * 0.25**step, 0.25 ** (step + 1))
        | {"step": step, "passes": 4 + 2 * step, "same": 0.1 * step, "truly_same": 1.0}
        | {"distilled_bound": 0.3 + 8.0 * 0.25**step, "distilled_same": 0.1 * step, "distilled_other": 0.05}
        for step in range(8)
    ]
    return {
        "rows": 40,
        "k": 99,
        "lam": 2.0,
        "lam_relative": 1e-3,
        "exact": True,
        "scale": 2.0,
        "network": pair(3.0, 0.25) | {"same": 0.4, "truly_same": 0.95},
        "start": certificate(3, 12_345.0, same=0.0, other=0.0),
        "end": certificate(21, 0.33, same=0.7, other=0.05),
        "steps": steps,
    }


def record():
    generator = np.random.default_rng(0)
    classes = ["tench", "church", "horn"]
    decay = [[float(v) for v in np.exp(-rate * np.arange(30))] for rate in (0.2, 0.3, 0.4)]
    sizes = [
        predictor(
            per_class=m,
            n=3 * m,
            k=64,
            sketch_error=0.05,
            condition_number=10.0 * m,
            smallest_eigenvalue=1.0 / m,
            accuracy=0.8 + 0.01 * m,
        )
        for m in (2, 5, 10)
    ]
    methods = [
        {
            "method": method,
            "m": m,
            "draws": draws,
            "realised_m": float(m),
            "accuracy": float(generator.uniform(0.5, 1)),
            "accuracy_sd": 0.01,
            "fidelity": float(generator.uniform(0.5, 1)),
            "fidelity_sd": 0.01,
            "mse": 0.2,
            "mse_sd": 0.01,
            "kernel_error": 1 / m,
            "captured_energy": 1 - 1 / m,
            "setting": "H = 2",
        }
        for method, draws in (("random", 20), ("top eigenvectors", 1), ("exact one gradient", 1))
        for m in (5, 10)
    ]
    return {
        "schema": 1,
        "config": {"data": "made <up>", "k": 64},
        "versions": {"python": "3.11"},
        "threads": 2,
        "seeds": {"network": 1},
        "fingerprints": {"model": "0" * 64, "data": "1" * 64},
        "data": {"name": "made <up>", "n_train": 100, "n_test": 20, "classes": classes, "shape": [1, 8, 8]},
        "network": {"name": "mlp", "parameters": 1000, "accuracy": 0.97, "train_accuracy": 1.0},
        "full_kernel": predictor(),
        "full_kernel_labels": predictor(on_edge=True),
        "last_layer": predictor(),
        "drawn": predictor(),
        "distilled": sizes[-1],
        "distilled_sizes": sizes,
        "refined": predictor(steps=7, forward=9, backward=11, method="7 CG steps"),
        "distance": distance(),
        "spectra": {
            "epsilon": 0.05,
            "distilled": decay,
            "distilled_ranks": [9, 7, 5],
            "real": decay,
            "real_ranks": [10, 8, 6],
        },
        "gap": {
            "clusters": 5,
            "epsilon_local": 0.05,
            "epsilon_global": 0.05,
            "weighted": 0.01,
            "unweighted": 0.2,
            "property_a": 0.98,
            "property_a_null": 0.7,
        },
        "gradient_distillation": methods,
        "mind": {"lam_relative": 0.5, "images": minds()},
        "stages": [
            {"name": "network", "seconds": 3.5, "forward_passes": 1000, "backward_passes": 1000, "bytes": 4000},
            {
                "name": "distillation",
                "seconds": 9.0,
                "forward_passes": 20000,
                "backward_passes": 20000,
                "bytes": 12_300_000,
            },
        ],
        "notes": ["Networks without BatchNorm drop the BatchNorm term."],
    }


def mind(image, *, changes_at, machine=0):
    def rows(first, sign):
        return [{"row": first + i, "label": i, "score": sign * (0.5 - 0.1 * i)} for i in range(3)]

    last = changes_at or 25
    removals = [
        {"removed": 0, "says": machine, "margin": 0.375},
        {"removed": 2, "says": 0, "margin": 0.25},
        {"removed": last, "says": 1 if changes_at else 0, "margin": -0.5},
    ]
    return {
        "image": image,
        "label": 0,
        "answer": 0,
        "machine": machine,
        "probability": 0.625,
        "variance": 0.125,
        "rarity": 0.0625,
        "supporting": rows(0, 1),
        "opposing": rows(90, -1),
        "removals": removals,
        "changes_at": changes_at,
        "most": 25,
    }


def minds():
    return [mind(3, changes_at=12), mind(7, changes_at=None), mind(9, changes_at=None, machine=2)]


def pictures():
    generator = np.random.default_rng(1)
    names = [f"training {row}" for row in (0, 1, 2, 90, 91, 92)] + [f"held-out {row}" for row in (3, 7, 9)]
    return {name: generator.uniform(0, 1, (8, 8, 1)) for name in names}


def images():
    generator = np.random.default_rng(0)
    return generator.uniform(0, 1, (30, 8, 8, 1)), np.repeat(np.arange(3), 10)
