"""Read the ledger: which statement holds, on what hypotheses, by which proof; and a counterexample in numbers."""

import json
from importlib.resources import files

from dntk_ref import redundancy

# %% The ledger comes with the package, as a page and as records.
ledger = json.loads((files("proofs_checks") / "ledger.json").read_text(encoding="utf-8"))
print(ledger["counts"]["verdicts"])

# %% A statement may have several readings; each has a verdict of its own.
for reading in ledger["readings"]:
    if reading["label"] == "def_3_1":
        print(f"{reading['row']}, {reading['reading']}: {reading['found']}")

# %% What holds carries its proof: what is given, each line, and the wrong variants that the checker rejects.
(theorem,) = [reading for reading in ledger["readings"] if reading["label"] == "theorem_r"]
print("hypotheses:", theorem["hypotheses"])
for line in theorem["proof"]["lines"]:
    print("  ", line["text"])

# %% What fails carries numbers: at the rank that keeps 3/4 of the trace, the best subset may lose more.
failing = [reading for reading in ledger["readings"] if reading["found"] == "fails"]
print(len(failing), "readings fail; the first by", failing[0]["refutations"][0]["name"])

# %% The reference computes both sides for your own kernel, straight from the definition.
K = [[4.0, 1.0, 0.0], [1.0, 3.0, 0.0], [0.0, 0.0, 1.0]]
print("truncation rank at a quarter of the trace:", redundancy.truncation_rank(K, 0.25))
assert redundancy.truncation_rank(K, 0.25) == 2
