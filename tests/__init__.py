"""Tests; `tests.households` makes the readings that they run on."""
