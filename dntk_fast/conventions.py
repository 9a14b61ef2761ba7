"""What scikit-learn asks of an estimator: parameters by name, copies without what was fitted, tags; without importing it."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, TypeVar

from dntk_fast import _check

if TYPE_CHECKING:
    from sklearn.utils import Tags

__all__ = ["Conventions"]

E = TypeVar("E", bound="Conventions")


class Conventions:
    """An estimator whose constructor keeps its arguments as they are, under their names, and whose `fit` checks them.

    >>> class Constant(Conventions):
    ...     def __init__(self, value=1):
    ...         self.value = value
    >>> Constant().set_params(value=2).get_params()
    {'value': 2}
    """

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the constructor's arguments by name; no argument is an estimator, so `deep` changes nothing."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self: E, **parameters: Any) -> E:
        """Change arguments of the constructor; the next `fit` checks them."""
        known = self.get_params()
        unknown = sorted(parameters.keys() - known.keys())
        if unknown:
            _check.refuse(unknown[0], f"one of the parameters {', '.join(known)}", "another name")
        vars(self).update(parameters)
        return self

    def __sklearn_clone__(self: E) -> E:
        """Return an estimator with the same arguments, not fitted; the model, which nobody changes, is shared."""
        return type(self)(**self.get_params())

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "weights_")

    def __sklearn_tags__(self) -> Tags:
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags  # it asks, so it is there

        inputs = InputTags(two_d_array=True, three_d_array=True, dict=True)
        return Tags("classifier", TargetTags(required=True), classifier_tags=ClassifierTags(), input_tags=inputs)

    def __repr__(self) -> str:
        own = {name: p.default for name, p in inspect.signature(type(self)).parameters.items()}
        other = [(name, value) for name, value in self.get_params().items() if value is not own[name]]
        short = (f"{name}={type(value).__name__ if name == 'model' else repr(value)}" for name, value in other)
        return f"{type(self).__name__}({', '.join(short)})"
