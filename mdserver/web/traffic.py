"""What the requests were: counted by route and status, timed by class of route."""

from __future__ import annotations

from mdserver.figures import Family, Histogram, Sample


class Tally:
    """The requests of one route. A route's limit is its class: `reads`, `writes` and so on."""

    __slots__ = ("_time", "by_class", "method", "path")

    def __init__(self, method: str, path: str, time: Histogram) -> None:
        self.method, self.path = method, path
        self.by_class = [0] * 10
        self._time = time

    def note(self, status: int, seconds: float) -> None:
        """Count one answer: on the way of every request."""
        self.by_class[status // 100] += 1
        self._time.note(seconds)


class Traffic:
    """All tallies. `under_way` counts the requests whose answer is being made."""

    def __init__(self) -> None:
        self.under_way = 0
        self._tallies: list[Tally] = []
        self._times: dict[str, Histogram] = {}

    def tally(self, method: str, path: str, *, of: str) -> Tally:
        """A tally for a route of this class."""
        made = Tally(method, path, self._times.setdefault(of, Histogram()))
        self._tallies.append(made)
        return made

    def families(self) -> list[Family]:
        counted = [
            Sample(count, {"method": one.method, "route": one.path, "status": f"{digit}xx"})
            for one in self._tallies
            for digit, count in enumerate(one.by_class)
            if count
        ]
        timed = [sample for of, time in self._times.items() for sample in time.samples(**{"class": of})]
        return [
            Family("mdserver_requests_total", "counter", "Requests answered; HEAD counts as GET.", counted),
            Family("mdserver_request_seconds", "histogram", "Time to make the answer, by class of route.", timed),
            Family("mdserver_requests_under_way", "gauge", "Requests being answered.", [Sample(self.under_way)]),
        ]
