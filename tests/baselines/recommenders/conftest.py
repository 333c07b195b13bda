"""Stores of a few lines; for recommenders that combine others a small ranking and members that each know a part."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from clm_dl.data.ranking.protocols import build_ranking
from clm_dl.data.ranking.ranking import Ranking
from clm_dl.data.snapshots.cutoffs import DAY
from clm_dl.data.store.files import write_store
from clm_dl.data.store.store import EventStore, Field
from clm_dl.retrieval import take_ragged
from clm_dl.tasks.recommend.ranks import rank, seen_items

NUM_ITEMS = 40


@pytest.fixture(scope="session")
def lines_store(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., EventStore]:
    """Function (item codes of each customer, item ids) -> EventStore: customers c0, c1, … buy one line a day."""

    def write(histories: list[list[int]], item_ids: list[str]) -> EventStore:
        return write_store(
            tmp_path_factory.mktemp("lines") / "store",
            customer_ids=np.array([f"c{number}" for number in range(len(histories))], dtype=object),
            offsets=np.cumsum([0, *map(len, histories)]),
            time=np.concatenate([np.arange(len(items)) for items in histories]) * DAY,
            columns={"item": np.concatenate(histories)},
            fields=[Field("item", "categorical")],
            dictionaries={"item": np.array(item_ids, dtype=object)},
            end=max(map(len, histories)) * DAY,
            fingerprint="lines",
        )

    return write


@dataclass
class World:
    """A leave-one-out ranking, and what is needed to score and to judge it."""

    store: EventStore
    ranking: Ranking
    seen: tuple[np.ndarray, np.ndarray]

    def member(self, known: Callable[[np.ndarray], np.ndarray], *, seed: int) -> Callable[[np.ndarray], np.ndarray]:
        """A scorer of noise that puts the target on top of the snapshots where `known(customer)` holds."""
        snapshots, num = self.ranking.snapshots, len(self.ranking.snapshots)
        score = np.random.default_rng(seed).normal(size=(num, NUM_ITEMS)).astype(np.float32)
        place = np.repeat(np.arange(num), np.diff(self.ranking.target_offsets))
        chosen = known(snapshots.customer[place])
        score[place[chosen], self.ranking.targets[chosen]] += 4
        return lambda index: score[index]

    def ndcg(self, scorer: Callable[[np.ndarray], np.ndarray], split: str, repeats: str = "remove") -> float:
        index = self.ranking.select(split)
        targets, seen = (
            take_ragged(part, index) for part in ((self.ranking.target_offsets, self.ranking.targets), self.seen)
        )
        above = rank(scorer, index, targets=targets, seen=seen, num_items=NUM_ITEMS, repeats=repeats).above
        return float(np.where(above < 10, 1 / np.log2(above + 2), 0).mean())

    def fit(self, model, members, **options):
        return model.fit(members, self.ranking, self.seen, NUM_ITEMS, store=self.store, **options)


@pytest.fixture(scope="session")
def make_world(lines_store: Callable[..., EventStore]) -> Callable[..., World]:
    """Function histories -> World."""

    def make(histories: list[list[int]]) -> World:
        store = lines_store(histories, [f"i{code:02d}" for code in range(NUM_ITEMS)])
        ranking = build_ranking(store, protocol={"name": "leave_one_out"}, unit="line")
        return World(store, ranking, seen_items(store.column("item"), ranking.snapshots.start, ranking.snapshots.stop))

    return make


@pytest.fixture(scope="session")
def world(make_world) -> World:
    """300 customers of 8 to 14 items each, none twice."""
    rng = np.random.default_rng(0)
    return make_world([rng.permutation(NUM_ITEMS)[: rng.integers(8, 15)].tolist() for _ in range(300)])


@pytest.fixture(scope="session")
def members(world: World) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """One member that knows the targets of even customers, one of odd ones, and one that knows nothing."""
    return {
        "even": world.member(lambda customer: customer % 2 == 0, seed=1),
        "odd": world.member(lambda customer: customer % 2 == 1, seed=2),
        "noise": world.member(lambda customer: customer < 0, seed=3),
    }
