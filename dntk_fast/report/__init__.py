"""A finished run, shown: JSON for machines, tables for the terminal, one self-contained page for people."""

from dntk_fast.report.distance import certificate_table, refinement_table
from dntk_fast.report.page import write_page
from dntk_fast.report.record import read_record, schema, write_record
from dntk_fast.report.table import method_table, predictor_table, stage_table

__all__ = [
    "certificate_table",
    "method_table",
    "predictor_table",
    "read_record",
    "refinement_table",
    "schema",
    "stage_table",
    "write_page",
    "write_record",
]
