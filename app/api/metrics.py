"""What is counted, for Prometheus.

Whatever clients send, the number of series is bounded: every label's values are the server's own words.
"""

from collections.abc import Collection, Sequence
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from app.runtime.observation import Observer
from app.runtime.outcomes import Outcome

# A cached answer takes milliseconds, a caption on a CPU half a minute.
_REQUEST_SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_WORK_SECONDS = (0.0005, 0.001, 0.0025, *_REQUEST_SECONDS[1:])
_ITEMS = (1, 2, 4, 8, 16, 32, 64, 128)

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_OTHER = "other"
UNKNOWN = "unknown"
NONE = "none"


class Metrics(Observer):
    """The counters of one application, in a registry of their own.

    Args:
        types: the operations that tasks may name; all others are one.
    """

    def __init__(self, types: Collection[str] = ()) -> None:
        self._types = frozenset(types)
        self.registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        self._requests = self._counter(
            "sightgraph_requests", "Requests that were answered.", "method", "path", "status"
        )
        self._request_seconds = self._histogram(
            "sightgraph_request_seconds",
            "Seconds from a request's head to the end of its answer.",
            _REQUEST_SECONDS,
            "method",
            "path",
        )
        self._refusals = self._counter(
            "sightgraph_refusals", "Requests that were refused as a whole, by error code.", "reason"
        )
        self._tasks = self._counter(
            "sightgraph_tasks",
            "Tasks by their answer, those that the server makes itself among them.",
            "type",
            "status",
            "code",
        )
        self._node_seconds = self._histogram(
            "sightgraph_node_seconds",
            "Seconds in which a lane computed a batch.",
            _WORK_SECONDS,
            "operation",
            "engine",
        )
        self._batch_items = self._histogram(
            "sightgraph_batch_items", "Items that a lane computed at once.", _ITEMS, "operation", "engine"
        )
        self._fetch_seconds = self._histogram(
            "sightgraph_fetch_seconds", "Seconds of an image's download.", _REQUEST_SECONDS
        )
        self._decode_seconds = self._histogram(
            "sightgraph_decode_seconds", "Seconds in which a lane decoded an image.", _WORK_SECONDS
        )
        # Finding a series by its labels is most of what counting costs.
        self._tasks_of = cache(self._tasks.labels)
        self._node_seconds_of = cache(self._node_seconds.labels)
        self._batch_items_of = cache(self._batch_items.labels)
        self._requests_of = cache(self._requests.labels)
        self._request_seconds_of = cache(self._request_seconds.labels)

    def answered(self, method: str, path: str, status: int, seconds: float, refusal: str | None) -> None:
        """A request was answered.

        Args:
            method: as it was sent.
            path: the template of its route.
            status: of the answer.
            seconds: that it took.
            refusal: the code of the error for which it failed as a whole.
        """
        method = method if method in _METHODS else _OTHER
        self._requests_of(method, path, str(status)).inc()
        self._request_seconds_of(method, path).observe(seconds)
        if refusal is not None:
            self._refusals.labels(refusal).inc()

    def fetched(self, seconds: float) -> None:
        self._fetch_seconds.observe(seconds)

    def decoded(self, seconds: float) -> None:
        self._decode_seconds.observe(seconds)

    def computed(self, operation: str, engine: str | None, items: int, seconds: float) -> None:
        self._node_seconds_of(operation, engine or NONE).observe(seconds)
        self._batch_items_of(operation, engine or NONE).observe(items)

    def ran(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            fault, type_ = outcome.fault, outcome.planned.type
            self._tasks_of(
                type_ if type_ in self._types else UNKNOWN,
                "success" if fault is None else fault.status,
                NONE if fault is None else fault.code,
            ).inc()

    def _counter(self, name: str, words: str, *labels: str) -> Counter:
        return Counter(name, words, labels, registry=self.registry)

    def _histogram(self, name: str, words: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(name, words, labels, buckets=buckets, registry=self.registry)
