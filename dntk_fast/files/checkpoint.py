"""A file in which long work waits: taken up again by the same work alone, and refused by the name of what differs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dntk_fast import _check
from dntk_fast.files.atomic import remove_drafts
from dntk_fast.files.fingerprint import same_to_rounding
from dntk_fast.files.tensors import read_tensors, write_tensors

__all__ = ["Checkpoint"]

_FIRST = "known by"


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The state of one piece of work on disk, with what it belongs to.

    Attributes
    ----------
    path : the file; whole or not at all
    work : what is done, in words, for the refusal
    owner : digests and settings by name: all of them must be those of the file
    first : (name, a first result), known again up to the rounding of `precision`, for no digest sees what a function does
    precision : in which the first result was computed

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     one = Checkpoint(Path(folder, "c"), "sum", {"data": "a"}, ("first term", torch.ones(1)))
    ...     one.save({"sum": torch.ones(1)}, {"terms": 1})
    ...     one.load()
    ({'sum': tensor([1.])}, {'terms': 1})
    """

    path: Path
    work: str
    owner: Mapping[str, str]
    first: tuple[str, Tensor]
    precision: torch.dtype = field(default=torch.float64)

    def save(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Write the state: tensors by any names but "known by", and numbers as JSON takes them."""
        words = {"work": self.work, "owner": json.dumps(dict(self.owner)), "numbers": json.dumps(dict(numbers))}
        write_tensors(self.path, {**tensors, _FIRST: self.first[1]}, words)

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return tensors and numbers of the state, or None where there is no file.

        Raises
        ------
        ValueError
            A file of other work (the message names what differs), a damaged one, or none of ours.
        """
        remove_drafts(self.path.parent, lambda name: name == self.path.name)
        if not self.path.exists():
            return None
        tensors, words = read_tensors(self.path)
        try:
            owner, numbers, first = json.loads(words["owner"]), json.loads(words["numbers"]), tensors.pop(_FIRST)
            odd = sorted(name for name in self.owner.keys() | owner.keys() if self.owner.get(name) != owner.get(name))
            other = words["work"] != self.work
        except (KeyError, ValueError, AttributeError, RecursionError):
            other = True
        if other:
            _check.refuse("checkpoint", f"one of a {self.work}", f"{self.path} of something else")
        name, own = self.first
        if not odd and not same_to_rounding(own, first, self.precision):
            odd = [name]
        if odd:
            told = f"{self.path}, which differs in {', '.join(odd)}"
            _check.refuse("checkpoint", f"one of the same {self.work}", told)
        return tensors, numbers

    @staticmethod
    def numbers(path: Path) -> dict[str, Any]:
        """Return the numbers of a checkpoint, whatever work it is of: none where there is no file."""
        words = read_tensors(path)[1] if path.exists() else {}
        return dict(json.loads(words["numbers"])) if "numbers" in words else {}
