"""A finished run, shown: JSON for machines, tables for the terminal, one self-contained page for people."""
