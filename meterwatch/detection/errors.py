"""What can go wrong in the domain. Doors turn these into exit codes, HTTP answers or log lines."""


class DetectionError(Exception):
    """Base of the domain's errors; the message names the fact and the next step."""


class StateError(DetectionError):
    """A meter's state or profile is damaged, foreign, or of another schema."""

    def __init__(self, meter_id: str, part: str, fact: str) -> None:
        super().__init__(
            f"meter {meter_id!r}: its {part} {fact}; send the one that was last answered, or null to start"
        )
        self.meter_id = meter_id
        self.part = part


class BundleError(DetectionError):
    """A model bundle is incomplete, altered, or of another schema."""


class DataError(DetectionError):
    """A data set cannot be used as it is; the message names the rows."""
