"""The functions of dntk_ref beside exact values: which row of the ledger each serves, and on which instances."""
