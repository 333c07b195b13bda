"""NextItemTask and NextOrderTask: the items that customers take next, ranked over the whole catalogue.

Shapes: N snapshots, V catalogue, D width.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
import torch

from clm_dl.baselines.spec import CannotAnswer, Fitted, Spec
from clm_dl.data.ranking.catalogue import Catalogue, check_vectors
from clm_dl.data.ranking.protocols import build_ranking, check_protocol
from clm_dl.data.sequences.inputs import SequenceInputs
from clm_dl.data.sequences.vocabulary import Vocabulary
from clm_dl.data.snapshots.scoring import scoring_snapshots
from clm_dl.data.store.store import EventStore
from clm_dl.data.zone import Zone
from clm_dl.errors import UserError, choice
from clm_dl.evaluation.bootstrap import Measure
from clm_dl.evaluation.metric import NETWORK, Metrics
from clm_dl.evaluation.summary import dates_of
from clm_dl.retrieval import Scorer
from clm_dl.tasks.base import Answers
from clm_dl.tasks.cases import Cases
from clm_dl.tasks.network import SequenceNetwork
from clm_dl.tasks.recommend.cases import RankedCases
from clm_dl.tasks.recommend.inputs import RankingInputs
from clm_dl.tasks.recommend.lists import best_items, check_length, wanted_items
from clm_dl.tasks.recommend.metrics import known_metrics, ranked_measure, reference
from clm_dl.tasks.recommend.network import RecommendNetwork
from clm_dl.tasks.recommend.options import RecommendOptions
from clm_dl.tasks.recommend.ranks import REPEATS, seen_items
from clm_dl.tasks.recommend.scorers import all_ranks, kept, network_scorer
from clm_dl.tasks.recommend.scores import history_length, ranked_rows
from clm_dl.tasks.recommend.table import FEW, RankedPart, RankedTable, ranked_table
from clm_dl.tasks.recommending import RecommendingTask

if TYPE_CHECKING:
    from clm_dl.baselines.recommenders.base import Recommender
    from clm_dl.tasks.module import SequenceTask
    from clm_dl.visual.pages import Pages


class NextItemTask(RecommendingTask):
    """The next item of every customer. Answers are scorers of the catalogue; a list needs no calibration."""

    name = "next_item"
    unit: ClassVar[str] = "line"
    mode = "max"
    calibrated = False
    detectable = True
    leads_with_best = True
    chosen_on = ("val", "test")
    features_at_head = False  # they would tell positions of their targets
    of_network = ("size", "objective", "context", "tower", "loss", "residual")
    options: RecommendOptions
    options_type = RecommendOptions

    @property
    def monitor(self) -> str:  # type: ignore[override]
        return f"val/ndcg@{self.settings.k}"

    def check(self) -> None:
        settings = self.settings
        choice(settings.policy.get("repeats"), REPEATS, "policy.repeats")
        if settings.rule is not None and settings.rule.folds > 1:
            raise UserError(
                f"task={self.name} has a single fold, got snapshots.folds={settings.rule.folds}: set snapshots.folds=1"
            )
        if settings.has_network and settings.sequence.token != self.unit:
            raise UserError(
                f"task={self.name} reads {self.unit}s, got sequence.token={settings.sequence.token}: set "
                f"sequence={self.unit}"
            )
        known = {NETWORK} if settings.has_network else set()
        known |= {spec.name for spec in settings.specs if not spec.is_hybrid}
        for spec in settings.specs:
            members = known if spec.members is None else set(spec.members)
            if spec.is_hybrid and (not members or members - known):
                raise UserError(
                    f"the baseline {spec.name} combines {', '.join(spec.members or ()) or 'other models'}, but the run "
                    f"has {', '.join(sorted(known)) or 'none'}: add what is missing to baselines"
                )

        if settings.has_network and settings.sequence.max_tokens < 2:
            raise UserError(
                "sequence.max_tokens must be at least 2, a token and the one to predict from it, got "
                f"{settings.sequence.max_tokens}"
            )
        check_protocol(settings.protocol, Zone(settings.timezone))
        if (vectors := self.options.content.vectors) is not None:
            check_vectors(Path(vectors))

    # --- who is asked

    def cases(self, store: EventStore, *, fold: int = 0) -> RankedCases:
        settings, k = self.settings, self.settings.k
        if not store.has("item"):
            raise UserError(f"the log of data={settings.log} has no items to recommend: set data.roles.item")
        ranking = build_ranking(store, protocol=settings.protocol, unit=self.unit, rule=settings.rule)
        ranking.check()
        content = self.options.content
        catalogue = Catalogue.from_store(
            store,
            ranking.training_rows,
            categorical=content.categorical,
            numeric=content.numeric,
            text=content.text,
            vectors=content.vectors,
        )
        if not 1 <= k <= len(catalogue):
            raise UserError(f"k must be from 1 to the {len(catalogue)} items of the catalogue, got {k}")
        self.catalogue, snapshots = catalogue, ranking.snapshots
        seen = seen_items(store.column("item"), snapshots.start, snapshots.stop)
        known: Any = {"catalogue": catalogue, "seen": seen, "unit": self.unit, "counts": ranking.counts}
        return RankedCases(store, snapshots, ranking=ranking, **known)

    def cases_at(self, store: EventStore, cutoff: int) -> RankedCases:
        """Everyone with a history before `cutoff`, to whom the run's catalogue is recommended."""
        catalogue = self._catalogue
        assert self.settings.rule is not None
        snapshots, in_population = scoring_snapshots(store, cutoff, self.settings.rule, labels=self.settings.labels)
        codes = np.append(catalogue.lookup(store.dictionary("item")), -1)  # a missing item, −1, reads the last one
        seen = seen_items(codes[store.column("item")], snapshots.start, snapshots.stop)
        known: Any = {"catalogue": catalogue, "seen": seen, "unit": self.unit, "in_population": in_population}
        return RankedCases(store, snapshots, **known)

    def fingerprint(self, cases: Cases) -> str:
        ranking = _ranked(cases).ranking
        assert ranking is not None
        return ranking.fingerprint(cases.store)

    @property
    def _catalogue(self) -> Catalogue:
        assert self.catalogue is not None
        return self.catalogue

    # --- network

    def inputs(
        self, cases: Cases, *, vocabulary: Vocabulary | None = None, schema: Mapping[str, Any] | None = None
    ) -> SequenceInputs:
        """The vocabulary of a run holds its catalogue, so its items keep their ids; another log's new ones are UNK."""
        cases = _ranked(cases)
        if vocabulary is not None and schema is not None:
            options: Any = {"vocabulary": vocabulary, "schema": schema, "batches": self.batches(reading=True)}
            return SequenceInputs(cases.store, cases.snapshots, sequence=self.sequence, **options)
        return RankingInputs(
            cases, sequence=self.sequence, batches=self.batches(reading=False), vocabulary=self.settings.vocabulary
        )

    def blank_schema(self) -> dict[str, Any]:
        items = {"num_items": 1, "categorical": {}, "numeric": {}, "vector_size": 0}
        return super().blank_schema() | {"items": items}

    def network(self, schema: Mapping[str, Any]) -> RecommendNetwork:
        settings = self.settings
        if schema["token"] != self.unit:
            raise UserError(
                f"task={self.name} reads {self.unit}s, got sequence.token={schema['token']}: set sequence={self.unit}"
            )
        return RecommendNetwork(schema, encoder=settings.encoder, options=self.options, seed=settings.seed)

    def prepare(self, network: SequenceNetwork, inputs: SequenceInputs) -> None:
        assert isinstance(network, RecommendNetwork)
        assert isinstance(inputs, RankingInputs)
        network.load_catalogue(inputs.cases.catalogue)

    def module(self, network: SequenceNetwork, inputs: SequenceInputs) -> SequenceTask:
        from clm_dl.tasks.recommend.module import RankedModule  # applying a network shall not wait for Lightning

        assert isinstance(network, RecommendNetwork)
        assert isinstance(inputs, RankingInputs)
        repeats = self.settings.policy["repeats"]
        return RankedModule(network, inputs.cases, monitor=self.monitor, k=self.settings.k, repeats=repeats)

    def answers(self, network: SequenceNetwork, inputs: SequenceInputs, rows: np.ndarray) -> Scorer:
        assert isinstance(network, RecommendNetwork)
        return kept(network_scorer(network, inputs, rows), rows, network.tower.num_items)

    # --- baselines

    def fit_baseline(self, spec: Spec, cases: Cases, others: Mapping[str, Answers]) -> tuple[Any, Scorer]:
        cases, model, settings = _ranked(cases), self._made(spec), self.settings
        assert cases.ranking is not None
        num_items = len(cases.catalogue)
        if spec.is_hybrid:
            options = {"store": cases.store, "repeats": settings.policy["repeats"], "k": settings.k}
            singles = {name: scorer for name, scorer in others.items() if name not in self._hybrids}
            model.fit(singles, cases.ranking, cases.seen, num_items, **options)
            scorer, model.scorer_ = model.scorer_, None  # else it would hold its members' scores as long as it lives
            return model, kept(scorer, cases.held_out, num_items)
        try:
            model.fit(cases.store, cases.ranking.training_stop)
        except CannotAnswer as error:
            if settings.named:  # whoever asks for it by name gets no run without it
                raise UserError(str(error)) from error
            raise
        return model, kept(self._scorer(model, cases), cases.held_out, num_items)

    def baseline_answers(self, fitted: Fitted, cases: Cases, others: Mapping[str, Answers]) -> Scorer:
        cases, model = _ranked(cases), fitted.model
        if not fitted.spec.is_hybrid:
            return self._scorer(model, cases)
        repeats = self.settings.policy["repeats"]
        scorer: Scorer = model.scorer(others, cases.seen, cases.store, cases.snapshots, repeats=repeats)
        return scorer

    def held_out_answers(self, fitted: Fitted, cases: Cases) -> Scorer:
        return kept(self._scorer(fitted.model, _ranked(cases)), cases.held_out, len(_ranked(cases).catalogue))

    def draws(self, spec: Spec) -> bool:
        return hasattr(spec.make(), "seed")

    def _scorer(self, model: Recommender, cases: RankedCases) -> Scorer:
        return model.scorer(cases.store, cases.snapshots.start, cases.snapshots.stop, cases.at)

    def _made(self, spec: Spec) -> Any:
        """The unfitted model, with the run's seed where it draws anything."""
        model = spec.make()
        if hasattr(model, "seed"):
            model.seed = self.settings.seed
        return model

    @property
    def _hybrids(self) -> set[str]:
        return {spec.name for spec in self.settings.specs if spec.is_hybrid}

    def baselines(self, models: Sequence[str]) -> list[str]:
        has_network = self.settings.has_network
        mixed = {
            spec.name
            for spec in self.settings.specs
            if has_network and spec.is_hybrid and NETWORK in (spec.members or (NETWORK,))
        }
        return [name for name in models if name != NETWORK and name not in mixed]

    # --- Scores

    def write(self, cases: Cases, rows: np.ndarray, answers: Answers, calibration: Any, *, model: str) -> pd.DataFrame:
        cases, settings, snapshots = _ranked(cases), self.settings, cases.snapshots
        softmax = model == NETWORK and self.options.loss["name"] == "softmax"  # then it is a probability
        options = {"k": settings.k, "repeats": settings.policy["repeats"], "softmax": softmax}
        if "history" not in cases.memo:
            cases.memo["history"] = history_length(cases.store, snapshots.start, snapshots.stop, cases.unit)
        names: Any = {"model": model, "task": self.name, "catalogue": cases.catalogue}
        parts = [
            ranked_rows(cases.store, snapshots, ranks, cases.memo["history"], among=among, **names)
            for among, ranks in all_ranks(cases, rows, answers, **options).items()
        ]
        return pd.concat(parts, ignore_index=True)

    def wanted(self, k: int | None, where: Mapping[str, Any] | None) -> tuple[int, np.ndarray]:
        catalogue = self._catalogue
        return check_length(self.settings.k if k is None else k, len(catalogue)), wanted_items(catalogue, where or {})

    def lists(
        self, network: SequenceNetwork | None, cases: Cases, answers: Answers, wanted: tuple[int, np.ndarray]
    ) -> pd.DataFrame:
        k, wanted_V = wanted
        vectors_VD = None if network is None else torch.from_numpy(self.item_vectors(network))
        repeats = self.settings.policy["repeats"]
        return best_items(_ranked(cases), answers, k=k, repeats=repeats, wanted_V=wanted_V, vectors_VD=vectors_VD)

    @torch.inference_mode()
    def item_vectors(self, network: SequenceNetwork) -> np.ndarray:
        assert isinstance(network, RecommendNetwork)
        vectors_VD: np.ndarray = network.tower.vectors().numpy()
        return vectors_VD

    def cards(self, cases: Cases, scores: pd.DataFrame, metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
        from clm_dl.tasks.recommend.cards import sample_cards

        return sample_cards(scores, cases.store, cases.snapshots, model=metrics["best_model"]["name"])

    # --- figures

    @property
    def pages(self) -> Pages:
        from clm_dl.tasks.recommend.pages import RankedPages  # draws

        return RankedPages(self.metrics, self.unit)

    def metrics(self, summary: Mapping[str, Any] | None = None) -> Metrics:
        return known_metrics(self.settings.k)

    def read(self, scores: pd.DataFrame, split: str, *, models: Sequence[str] | None = None) -> RankedTable:
        return ranked_table(scores, split, self._catalogue, k=self.settings.k, models=models)

    def parts(self, table: RankedTable) -> dict[str, RankedPart]:
        everyone = np.ones(len(table), bool)
        rows = {"few_events": table.history <= FEW}
        names = ("overall", "repeats", "new", "cold_items", "few_events")
        return {name: RankedPart(table, name, rows.get(name, everyone)) for name in names}

    def by_cutoff(self, table: RankedTable) -> dict[str, RankedPart]:
        zone = Zone(self.settings.timezone)
        return dates_of(table, zone) if self.settings.protocol["name"] == "rolling" else {}

    def measure(self, table: RankedPart, *, raw: bool = False) -> Measure:
        return ranked_measure(table, self._catalogue, self.settings.k)

    def reference(self, table: RankedTable) -> dict[str, Any]:
        return reference(table, self._catalogue, self.settings.k)

    def extras(self, tables: Mapping[str, Any], cases: Iterable[Cases]) -> dict[str, Any]:
        settings, [one] = self.settings, cases
        told = {"k": settings.k, "protocol": dict(settings.protocol), "policy": dict(settings.policy)}
        return told | {"counts": dict(one.counts)}

    def projected(
        self, network: SequenceNetwork, inputs: SequenceInputs, cases: Cases, scores: pd.DataFrame
    ) -> tuple[str, np.ndarray, pd.DataFrame]:
        from clm_dl.tasks.recommend.cards import item_table

        return "items", self.item_vectors(network), item_table(_ranked(cases).catalogue)


class NextOrderTask(NextItemTask):
    """The items of the next order; tokens are orders."""

    name = "next_order"
    unit = "order"


def _ranked(cases: Cases) -> RankedCases:
    assert isinstance(cases, RankedCases)
    return cases
