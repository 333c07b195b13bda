"""A metric: which value is best, what a difference says, where it is shown."""

import pytest

from clm_dl.evaluation.metric import Metric, Metrics
from clm_dl.tasks.churn.metrics import METRICS
from clm_dl.tasks.recommend.metrics import known_metrics


def test_only_judging_metrics_have_a_best() -> None:
    known = known_metrics(10)
    assert known["ndcg@10"].best([0.1, None, 0.3]) == 0.3
    assert known["ece@1"].best([0.1, 0.3]) == 0.1
    assert known["popularity@10"].best([0.1, 0.3]) is None
    assert known["ndcg@10"].best([None]) is None


def test_a_difference_is_judged_by_its_interval() -> None:
    below, above, around = ({"low": low, "high": high} for low, high in ((-2, -1), (1, 2), (-1, 1)))
    assert [METRICS["auroc"].verdict(part) for part in (below, above, around)] == ["worse", "better", "a tie"]
    assert [METRICS["log_loss"].verdict(part) for part in (below, above, around)] == ["better", "worse", "a tie"]
    told = [METRICS["auroc"].told(part) for part in (below, above, around)]
    assert told == ["worse with this seed", "better with this seed", "a tie"]  # it covers customers, not seeds
    assert METRICS["auroc"].told(above, seeds=5) == "better"
    assert METRICS["auroc"].verdict({"low": None, "high": None}) == "undefined"


@pytest.mark.parametrize(("better", "others"), [("high", ["large", "small"]), ("low", ["small", "large"])])
def test_models_are_ordered_from_the_best_the_network_first(better: str, others: list[str]) -> None:
    values = {"unknown": None, "large": 0.9, "small": 0.1, "network": 0.5}
    models = {name: {"main": {"value": value}} for name, value in values.items()}
    known = Metrics([Metric("main", "title", better, shown="main")])
    assert known.ordered(models) == ["network", *others, "unknown"]


def test_a_metric_says_where_it_is_shown() -> None:
    places = ("more", "main", "tile", "file", "table")
    known = Metrics([*(Metric(place, place, shown=place) for place in places), Metric("size", "size", "neither")])
    assert known.main.name == "main"
    assert [metric.name for metric in known.tiles] == ["main", "tile"]
    assert [metric.name for metric in known.table] == ["main", "tile", "table"]
    assert [metric.name for metric in known.more] == ["more", "size"]
    assert known.objectives == list(places)
    with pytest.raises(ValueError, match="unpack"):  # one is the main one
        Metrics([Metric("more", "more")])
