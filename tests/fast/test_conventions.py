"""DistilledNTK among scikit-learn's estimators: copies, searches, pipelines, scores, names of classes."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted

from dntk_fast import DistilledNTK
from tests.fast.estimators import data, network

ROOT = Path(__file__).resolve().parents[2]
NAMES = ["one", "other", "third"]


def table():
    """Rows and columns: what scikit-learn's own steps take."""
    x, y = data()
    return x.flatten(1).numpy(), y.numpy()


def test_the_constructor_keeps_its_arguments_as_they_are():
    model, given = network(), {"per_class": np.int64(3), "lam": "much", "outputs": (2, 0), "classes": object()}
    estimator = DistilledNTK(model, **given)
    kept = estimator.get_params()
    assert all(kept[name] is value for name, value in given.items())
    assert kept["model"] is model
    assert set(kept) == set(estimator.set_params(per_class=4).get_params())
    assert estimator.per_class == 4


def test_an_unknown_parameter_is_refused():
    with pytest.raises(
        ValueError, match=r"^ridge: expected one of the parameters model, per_class, .*, got another name$"
    ):
        DistilledNTK(network()).set_params(ridge=1.0)


def test_a_clone_has_the_same_arguments_and_nothing_fitted():
    fitted = DistilledNTK(network(), per_class=2, seed=3).fit(*data())
    copy = clone(fitted)
    assert copy.get_params() == fitted.get_params()
    check_is_fitted(fitted)
    with pytest.raises(NotFittedError):
        check_is_fitted(copy)
    with pytest.raises(ValueError, match="expected a fitted estimator"):
        copy.score(*data())


def test_it_is_a_classifier_that_says_what_it_was_given():
    estimator = DistilledNTK(network(), per_class=2)
    assert is_classifier(estimator)
    assert repr(estimator) == "DistilledNTK(model=Sequential, per_class=2)"
    assert is_classifier(make_pipeline(StandardScaler(), estimator))


def test_a_search_over_ridge_and_budget_keeps_what_scores_best():
    x, y = table()
    grid = {"lam": [1e-3, 1e6], "per_class": [2, 6]}
    search = GridSearchCV(DistilledNTK(network(), images="random"), grid, cv=2).fit(x, y)
    scores = search.cv_results_["mean_test_score"]
    assert search.best_score_ == max(scores)
    assert len(set(scores)) > 1  # the settings arrive
    best = DistilledNTK(network(), images="random", **search.best_params_).fit(x, y)
    np.testing.assert_array_equal(search.predict(x), best.predict(x))
    assert search.n_features_in_ == 9


def test_cross_validation_and_pipelines_score_as_by_hand():
    x, y = table()
    estimator = DistilledNTK(network(), per_class=3, seed=0)
    scores = cross_val_score(estimator, x, y, cv=[(np.arange(0, 40), np.arange(40, 60))])
    by_hand = np.mean(DistilledNTK(network(), per_class=3, seed=0).fit(x[:40], y[:40]).predict(x[40:]) == y[40:])
    assert scores.tolist() == [by_hand]
    line = make_pipeline(StandardScaler(), estimator).fit(x, y)
    scaled = StandardScaler().fit_transform(x)
    alone = DistilledNTK(network(), per_class=3, seed=0).fit(scaled, y)
    np.testing.assert_array_equal(line.predict(x), alone.predict(scaled))
    assert line.score(x, y) == alone.score(scaled, y)
    assert line.classes_.tolist() == [0, 1, 2]


def test_torch_tensors_are_split_too():
    x, y = data()
    split = [(np.arange(0, 40), np.arange(40, 60))]
    estimator = DistilledNTK(network(), per_class=3)
    assert cross_val_score(estimator, x, y, cv=split) == cross_val_score(estimator, x.numpy(), y.numpy(), cv=split)


def test_a_score_is_the_share_that_is_right_by_count_or_weight():
    x, y = data()
    fitted = DistilledNTK(network(), per_class=3).fit(x, y)
    right = (fitted.predict(x) == y).double()
    assert fitted.score(x, y) == float(right.mean())
    weights = torch.arange(60.0)
    assert fitted.score(x, y, sample_weight=weights.numpy()) == pytest.approx(
        float((right * weights).sum() / weights.sum())
    )
    assert 0 < fitted.score(x, y) < 1


def test_names_of_classes_are_those_of_the_outputs_in_their_order():
    x, y = data()
    plain = DistilledNTK(network(), per_class=3).fit(x, y)
    words = np.asarray(NAMES)[y.numpy()]
    fitted = DistilledNTK(network(), per_class=3, classes=NAMES).fit(x.numpy(), words)
    assert fitted.classes_.tolist() == NAMES
    np.testing.assert_array_equal(fitted.predict(x.numpy()), np.asarray(NAMES)[plain.predict(x).numpy()])
    np.testing.assert_array_equal(fitted.predict(x), fitted.predict(x.numpy()))
    assert fitted.score(x, words.tolist()) == plain.score(x, y)
    numbered = DistilledNTK(network(), per_class=3, classes=[7, 5, 9]).fit(x, torch.tensor([7, 5, 9])[y])
    assert torch.equal(numbered.predict(x), torch.tensor([7, 5, 9])[plain.predict(x)])


@pytest.mark.parametrize(
    ("classes", "y", "message"),
    [
        (
            None,
            "words",
            r"^y: expected classes 0 \.\.\. C - 1, or classes=\[\.\.\.\] that names the outputs .* as 'one'$",
        ),
        (
            ["one", "other", "last"],
            "words",
            r"^y: expected labels among classes=\['one', 'other', 'last'\], got third$",
        ),
        (["one", "other"], "words", r"^classes: expected 3 labels, one for each output, got 2$"),
        (["one", "one", "third"], "words", "^classes: expected distinct integers or names"),
        ("one", "words", "^classes: expected the labels of the outputs in their order, or None, got 'one'$"),
        ([0.5, 1.5, 2.5], "words", "^classes: expected distinct integers or names"),
    ],
)
def test_names_that_do_not_fit_are_refused_in_one_line(classes, y, message):
    x, numbers = data()
    words = np.asarray(NAMES)[numbers.numpy()]
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        DistilledNTK(network(), per_class=3, classes=classes).fit(x, words if y == "words" else y)
    assert "\n" not in str(caught.value)


def test_the_estimator_costs_no_package_that_it_does_not_use():
    """Importing it, and fitting on chosen images, needs neither scikit-learn nor what comes with it."""
    script = (
        "import sys, dntk_fast, torch\n"
        "from dntk_fast import DistilledNTK, tangent_kernel, tangent_features\n"
        "model = torch.nn.Linear(2, 2).eval()\n"
        "DistilledNTK(model, per_class=2).fit(torch.arange(16.0).reshape(8, 2).sin(), torch.arange(8) % 2)\n"
        "print(sorted({'sklearn', 'scipy.stats', 'pandas', 'matplotlib', 'torchvision'} & set(sys.modules)))\n"
        "import sklearn.base\n"
        "print('sklearn' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.stdout.split("\n")[:2] == ["[]", "True"], found.stderr
