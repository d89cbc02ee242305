"""The commands by theme. Doors are imported inside each command, so that `meterwatch --help` answers at once."""
