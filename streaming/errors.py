"""What can go wrong at this door; the command line prints the message as its one line."""


class StreamError(Exception):
    """The stream, the broker or a replay cannot go on; the message names the fact and the next step."""


class BrokerAwayError(StreamError):
    """No broker answers at the address, or it has no such topic yet; it may be there in a moment."""


class UntoldError(Exception):
    """Who was to be told of events has not acknowledged it; the message says why."""

    def __init__(self, fact: str, retry_after: float = 0.0) -> None:
        super().__init__(fact)
        self.retry_after = retry_after  # seconds


class Stopped(Exception):  # noqa: N818
    """The stream was told to end while it waited."""
