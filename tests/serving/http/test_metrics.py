from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.core import Metric
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_fd_to_metric_families

from thalweg.serving.http.metrics import Metrics

PATH = "/v1/models/{name}/predict"


@pytest.fixture
def metrics() -> Metrics:
    found = Metrics([PATH, "/metrics"], runtime="1.2.3")
    found.loaded("adult", "v1", "current", ["age", 'a"b\\c\nd'])
    found.loaded("adult", "v2", "candidate")
    return found


def families(metrics: Metrics, accept: str = "") -> dict[str, Metric]:
    body, content_type = metrics.expose(accept)
    text = io.StringIO(body.decode())
    if "openmetrics" in content_type:
        found = openmetrics.text_fd_to_metric_families(text)
    else:
        assert content_type.startswith("text/plain; version=")
        found = text_fd_to_metric_families(text)
    return {family.name: family for family in found}


def value(metrics: Metrics, name: str, **labels: str) -> float:
    for family in families(metrics).values():
        for sample in family.samples:
            if sample.name == name and sample.labels == labels:
                return float(sample.value)
    raise AssertionError(name)


def everything(metrics: Metrics) -> None:
    metrics.request(PATH, "adult", "v1", 200, 0.0004, 3)
    metrics.request(PATH, "adult", "v1", 200, 99.0, 1)
    metrics.batch("adult", 4)
    metrics.waiting(lambda: 7)
    metrics.busy("adult")
    metrics.error("json")
    metrics.unreadable("adult", "age", 2)
    metrics.unreadable("adult", 'a"b\\c\nd')
    metrics.swap("adult", "swapped")
    metrics.rollback("adult")
    metrics.shadow("adult", "v2", 10, 0.5, 1)
    metrics.shadow_failed("adult", "v2", "dropped")


@pytest.mark.parametrize(
    "accept", ["", "application/openmetrics-text; version=1.0.0", "junk/ \x00"]
)
def test_parsers_accept_the_page(metrics: Metrics, accept: str) -> None:
    assert "thalweg_build" in "".join(families(metrics, accept))
    everything(metrics)
    found = families(metrics, accept)
    assert found["thalweg_request_seconds"].type == "histogram"
    assert found["process_cpu_seconds"].type == "counter"
    assert found["process_resident_memory_bytes"].samples[0].value > 1e6
    for _ in range(2):
        assert families(metrics, accept).keys() == found.keys()


def test_figures(metrics: Metrics) -> None:
    everything(metrics)
    one = {"path": PATH, "model": "adult", "version": "v1", "status": "200"}
    assert value(metrics, "thalweg_request_seconds_count", **one) == 2
    assert value(metrics, "thalweg_request_seconds_sum", **one) == pytest.approx(99.0004)
    assert value(metrics, "thalweg_request_seconds_bucket", **one, le="0.0003") == 0
    assert value(metrics, "thalweg_request_seconds_bucket", **one, le="0.0005") == 1
    assert value(metrics, "thalweg_request_seconds_bucket", **one, le="+Inf") == 2
    assert value(metrics, "thalweg_rows_total", model="adult", version="v1") == 4
    assert value(metrics, "thalweg_batch_rows_bucket", model="adult", le="4.0") == 1
    assert value(metrics, "thalweg_batch_rows_bucket", model="adult", le="2.0") == 0
    assert value(metrics, "thalweg_queue_rows") == 7
    assert value(metrics, "thalweg_unreadable_cells_total", model="adult", column="age") == 2
    assert value(metrics, "thalweg_unreadable_cells_total", model="adult", column='a"b\\c\nd') == 1
    assert value(metrics, "thalweg_shadow_difference_total", model="adult", version="v2") == 0.5
    assert value(metrics, "thalweg_model", model="adult", version="v2", role="candidate") == 1


@given(st.lists(st.floats(0, 20), max_size=50))
def test_buckets_count_what_is_below_them(seconds: list[float]) -> None:
    metrics = Metrics([PATH])
    for one in seconds:
        metrics.request(PATH, "", "", 404, one, 0)
    samples = families(metrics)["thalweg_request_seconds"].samples
    buckets = [each for each in samples if each.name.endswith("_bucket")]
    assert len(buckets) == (19 if seconds else 0)
    for bucket in buckets:
        assert bucket.value == sum(one <= float(bucket.labels["le"]) for one in seconds)


def test_series_are_bounded_whatever_comes(metrics: Metrics) -> None:
    for number in range(300):
        text = f"any {number}"
        metrics.request(f"/{number}", "adult", text, 200, 0.001, 1)
        metrics.request(PATH, text, text, 200 + 1000 * number, 0.001, 1)
        metrics.error(text)
        metrics.unreadable("adult", text)
        metrics.unreadable(text, "age")
        metrics.batch(text, 1)
        metrics.busy(text)
        metrics.rollback(text)
        metrics.shadow(text, text, 1, 1.0, 1)
    found = families(metrics)
    count = {name: len(family.samples) for name, family in found.items()}
    assert count["thalweg_request_seconds"] == 3 * 21
    assert count["thalweg_errors"] == 51
    assert (count["thalweg_unreadable_cells"], count["thalweg_rows"]) == (2, 0)
    assert (count["thalweg_busy"], count["thalweg_shadow_rows"]) == (1, 0)
    metrics.loaded("wide", "v", "current", [f"c{number}" for number in range(5_000)])
    for number in range(5_000):
        metrics.unreadable("wide", f"c{number}")
    assert len(families(metrics)["thalweg_unreadable_cells"].samples) == 2 + 201


def test_versions_that_are_gone_leave_nothing(metrics: Metrics) -> None:
    everything(metrics)
    before = len(metrics.expose()[0])
    for number in range(50):
        metrics.loaded("adult", f"w{number}", "current")
        metrics.request(PATH, "adult", f"w{number}", 200, 0.1, 1)
        metrics.shadow("adult", f"w{number}", 1, 0.1, 0)
        metrics.gone("adult", f"w{number}")
        # A request that was under way ends after its version has gone.
        metrics.request(PATH, "adult", f"w{number}", 200, 0.1, 1)
    page = metrics.expose()[0].decode()
    assert '"w' not in page
    assert len(page) < before + 4_000
    metrics.gone("adult", "v2")
    assert '"v2"' not in metrics.expose()[0].decode()


def test_a_package_that_is_missing_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import thalweg.serving.http.metrics as module

    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(Exception, match=r"pip install 'thalweg\[serve\]'"):
        Metrics()
