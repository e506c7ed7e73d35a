"""Upkeep of the records: their age limits, erasure, extracts, copies, and who may work in a data folder."""
