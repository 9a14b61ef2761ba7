"""A ledger of the paper: each statement with a verdict, its margins and its counterexamples."""
