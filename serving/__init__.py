"""The scoring service and its client."""
