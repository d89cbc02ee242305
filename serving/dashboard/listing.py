"""What the page of all meters shows is in its address too: whose, in which state, in which order, which page of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from serving.dashboard.address import LONGEST_ID, AddressError, page_number, read_query, write_query

STATES = ("anomalous", "silent", "unjudged", "warming_up", "normal")  # the worst first
ORDERS = ("state", "meter", "since", "reading", "power", "expected", "severity")
FIRST_DESCENDING = frozenset({"since", "reading", "power", "expected", "severity"})
PAGE_ROWS = 50


@dataclass(frozen=True, slots=True)
class Listing:
    """Which meters are looked at: ids that hold a text, a state, an order and a page of `PAGE_ROWS`."""

    text: str = ""
    state: str = ""  # empty: every one
    order: str = "state"
    descending: bool = False
    page: int = 1

    def query(self) -> str:
        """The address' query, `?` included; empty for what is shown unasked."""
        plain = Listing()
        told = {"q": self.text, "state": self.state}
        if (self.order, self.descending) != (plain.order, plain.descending):
            told["sort"] = f"{'-' if self.descending else ''}{self.order}"
        if self.page > 1:
            told["page"] = str(self.page)
        return write_query(told)

    def of_state(self, state: str) -> Listing:
        """The same with another state, from the first page on."""
        return replace(self, state=state, page=1)

    def by(self, order: str) -> Listing:
        """The same in another order; in the other direction where it is that order already."""
        descending = not self.descending if order == self.order else order in FIRST_DESCENDING
        return replace(self, order=order, descending=descending, page=1)


def parse(search: str | None) -> Listing:
    """Read the query of an address, as in `?q=attic&state=silent&sort=-since&page=2`.

    Raises:
        AddressError: an unknown state or order, or a page that is none.
    """
    query = read_query(search)
    text, state = query.get("q", "").strip(), query.get("state", "")
    if len(text) > LONGEST_ID:
        raise AddressError(f"This address searches for {len(text):,} characters; a meter has at most {LONGEST_ID}.")
    if state and state not in STATES:
        raise AddressError(f"There is no state {state!r}; choose one of {', '.join(STATES)}.")
    sort = query.get("sort", "state")
    order = sort.removeprefix("-")
    if order not in ORDERS:
        raise AddressError(f"There is no order {order!r}; choose one of {', '.join(ORDERS)}.")
    return Listing(text, state, order, sort.startswith("-"), page_number(query.get("page", "1")))
