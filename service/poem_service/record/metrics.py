"""What the service did → Prometheus text."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from poem_service.errors import Reason

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 45, 60, 90)


@dataclass(frozen=True, slots=True)
class _Total(Collector):
    name: str
    told: str
    read: Callable[[], float]

    def collect(self) -> Iterable[Metric]:
        yield CounterMetricFamily(self.name, self.told, value=self.read())


@dataclass(frozen=True, slots=True)
class _OfEach(Collector):
    name: str
    told: str
    read: Callable[[], Mapping[str, float]]

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(self.name, self.told, labels=["engine"])
        for engine, value in self.read().items():
            family.add_metric([engine], value)
        yield family


class Metrics:
    """The service's counters, in a registry of its own so that two services can live in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._answers = Counter(
            "poem_answers", "Poems by source and reason", ["source", "reason"], registry=self.registry
        )
        self._seconds = Histogram(
            "poem_answer_seconds", "Time to a poem by source", ["source"], buckets=_SECONDS, registry=self.registry
        )
        self._first = Histogram(
            "poem_first_token_seconds", "Time to the model's first token", buckets=_SECONDS, registry=self.registry
        )
        self._failures = Counter("poem_model_failures", "Asks that gave no poem", ["reason"], registry=self.registry)
        self._broken = Counter("poem_rule_violations", "Violations by rule", ["rule"], registry=self.registry)
        self._repairs = Counter("poem_repairs", "Answers repaired", ["repair"], registry=self.registry)
        self._waived = Counter("poem_waived", "Composed poems whose giveaway rule was waived", registry=self.registry)
        self._chats = Counter("poem_chats", "Chats by how they ended", ["end"], registry=self.registry)
        self._requests = Counter("poem_http_requests", "HTTP answers", ["status"], registry=self.registry)

    def count_poem(self, source: str, reason: Reason | None, seconds: float) -> None:
        self._answers.labels(source, reason or "").inc()
        self._seconds.labels(source).observe(seconds)

    def time_first_piece(self, seconds: float) -> None:
        self._first.observe(seconds)

    def count_failure(self, reason: Reason) -> None:
        self._failures.labels(reason).inc()

    def count_violations(self, rules: Iterable[str]) -> None:
        for rule in rules:
            self._broken.labels(rule).inc()

    def count_repair(self, repair: str) -> None:
        self._repairs.labels(repair).inc()

    def count_waiver(self) -> None:
        self._waived.inc()

    def count_chat(self, end: str) -> None:
        self._chats.labels(end).inc()

    def count_answer(self, status: int) -> None:
        self._requests.labels(str(status)).inc()

    def watch(self, name: str, told: str, read: Callable[[], float]) -> None:
        """A gauge that is read when the metrics are."""
        Gauge(name, told, registry=self.registry).set_function(read)

    def watch_each(self, name: str, told: str, read: Callable[[], Mapping[str, float]]) -> None:
        """A gauge for each engine, by its label."""
        self.registry.register(_OfEach(name, told, read))

    def watch_total(self, name: str, told: str, read: Callable[[], float]) -> None:
        """A counter that somebody else keeps."""
        self.registry.register(_Total(name, told, read))

    def text(self) -> bytes:
        return generate_latest(self.registry)
