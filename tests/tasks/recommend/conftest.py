"""Results of made-up models that recommend on a small shop."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from shown import results_with
from support import config_of, metrics_of

from clm_dl.data.store.files import write_store
from clm_dl.data.store.store import EventStore, Field
from clm_dl.experiment.settings import read_task
from clm_dl.tasks.recommend.cards import sample_cards
from clm_dl.visual.results import Results

MODELS = {"network": 1.5, "repeat": 1.0, "popular": 0.2}  # how far the scores point at the targets
RANKED = ("data.path=log.txt", "task=next_item", "sequence=line", "protocol=leave_one_out", "policy.repeats=allow")


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> EventStore:
    """80 customers, 42 items in 3 departments, 3 or 12 events each, two items never sold before the last day."""
    rng = np.random.default_rng(0)
    num, num_items = 80, 42
    offsets = np.concatenate([[0], np.cumsum(np.where(np.arange(num) < 10, 3, 12))])
    item = np.minimum(rng.geometric(0.08, offsets[-1]) - 1, num_items - 3)
    item[offsets[20:26] - 1] = [40, 41] * 3
    day = np.concatenate([np.arange(length) for length in np.diff(offsets)])
    return write_store(
        tmp_path_factory.mktemp("store") / "shop",
        customer_ids=np.array([f"c{i:02d}" for i in range(num)], dtype=object),
        offsets=offsets,
        time=day * 86_400_000_000 + 1_600_000_000_000_000,
        columns={"item": item, "dept": item % 3},
        fields=[Field("item", "categorical", "item"), Field("dept", "categorical")],
        dictionaries={"item": [f"item <{i}>" for i in range(num_items)], "dept": ["food", "toys", "garden"]},
        end=1_700_000_000_000_000,
        fingerprint="shop",
    )


@pytest.fixture
def make_results(shop: EventStore) -> Callable[..., Results]:
    """(settings, name of the run, models -> how far their scores point at the targets) -> Results."""

    def make(*overrides: str, name: str = "run", models: dict[str, float] = MODELS, seed: int = 0) -> Results:
        settings = (f"seed={seed}", f"paths.output_dir=runs/{name}", "task.content.categorical=[dept]", *overrides)
        config = config_of(*RANKED, *settings)
        task = read_task(config)
        cases = task.cases(shop)
        is_target = np.zeros((len(cases), len(cases.catalogue)))
        is_target[np.repeat(np.arange(len(cases)), np.diff(cases.targets[0])), cases.targets[1]] = 1.0
        rng, tables = np.random.default_rng(seed), []
        for model, signal in models.items():
            score = signal * is_target + rng.standard_normal(is_target.shape)
            tables.append(task.write(cases, cases.held_out, score.__getitem__, None, model=model))
        scores = pd.concat(tables, ignore_index=True)
        counts = {"rows_in": 960, "kept": 960, "quarantined": 0, "duplicates": 0, "customers": 80, "events": 960}
        metrics = metrics_of(task, scores, cases=[cases], counts=counts, fingerprint=task.fingerprint(cases))
        cards = sample_cards(scores, shop, cases.snapshots, model=next(iter(models)), num=3)
        return results_with(task, config, metrics, scores=scores, cards=cards)

    return make
