"""Task: the contract of what is asked of customers and how it is answered.

A run walks through a task's methods in this order: cases → inputs → network, baselines → answers → calibrate → write;
then read → parts → measure make the figures, and `pages` shows them. Whatever only one task knows lives in its folder.

Shapes: N snapshots, D width, K targets.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from clm_dl.baselines.spec import Fitted, Spec
from clm_dl.data.ranking.catalogue import Catalogue
from clm_dl.data.sequences.inputs import SequenceInputs
from clm_dl.data.sequences.options import BatchOptions
from clm_dl.data.sequences.schema import blank_schema
from clm_dl.data.sequences.vocabulary import Vocabulary
from clm_dl.data.store.store import EventStore
from clm_dl.errors import UserError
from clm_dl.evaluation.bootstrap import Measure
from clm_dl.evaluation.metric import NETWORK, Metrics
from clm_dl.evaluation.summary import Table
from clm_dl.options import parse
from clm_dl.tasks.cases import Cases
from clm_dl.tasks.network import SequenceNetwork, customer_vectors
from clm_dl.tasks.options import OF_NETWORKS, HeadOptions, NetworkOptions
from clm_dl.tasks.settings import Settings

if TYPE_CHECKING:
    from clm_dl.tasks.module import SequenceTask
    from clm_dl.visual.pages import Pages

Answers = Any  # of one model for some snapshots: an array [N, …], or of a ranked task a scorer of the catalogue
MAX_TOKENS = 8192  # padded tokens of a batch that is only read, where the task has no budget of its own
MAX_PROJECTED = 5000  # customers in TensorBoard's projector
NOT_OF_BASELINES = ("task", "encoder", "sequence", "vocabulary", "specs", "named")  # settings; of `task` some are


class Task(ABC):
    """What a network is trained for; an instance a run. Plain settings in; no Lightning, no disk."""

    name: ClassVar[str]
    monitor: ClassVar[str]  # logged on validation; picks the best epoch
    mode: ClassVar[str] = "min"
    options_type: ClassVar[type[NetworkOptions]]
    reads_tables: ClassVar[bool] = False  # whether it answers for a table of customers without time
    starts_others: ClassVar[bool] = False  # whether another run may start from its network
    starts_from_vectors: ClassVar[bool] = False  # whether a run may start from a pretrained network
    features_at_head: ClassVar[bool] = True  # whether history features may enter beside the sequence
    balances: ClassVar[tuple[str, ...]] = ()  # kinds of `imbalance` that reach the network's training

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        # a preset may set what another task has; typing errors on the command line were found before
        self.options = parse(self.options_type, settings.task, "task", strict=False)
        self.catalogue: Catalogue | None = None  # of a task that recommends: that of its cases, or what a run saved
        self.sequence = settings.sequence
        if not self.features_at_head:
            self.sequence = replace(self.sequence, features=False)

    @classmethod
    def asked(cls, task: Mapping[str, Any]) -> tuple[str, ...]:
        """Names of the questions of a group `task`."""
        return (cls.name,)

    @property
    @abstractmethod
    def questions(self) -> tuple[ScoredTask, ...]:
        """What is asked, each with scores of its own; several of a task that holds tasks."""

    @property
    def holds_tasks(self) -> bool:
        """Whether its questions are tasks of their own."""
        return self.questions[0] is not self

    def cases_of(self, question: ScoredTask, cases: Cases) -> Cases:
        """The cases of one of its questions."""
        return cases

    def check(self) -> None:  # noqa: B027  (most tasks have nothing to check)
        """Raise ValueError where settings do not go together; before any data is read."""

    # --- who is asked, and what came true

    @abstractmethod
    def cases(self, store: EventStore, *, fold: int = 0) -> Cases:
        """Training, validation and test; ValueError where nothing can be learnt or measured."""

    @abstractmethod
    def cases_at(self, store: EventStore, cutoff: int) -> Cases:
        """Everyone with an event before `cutoff` (microseconds), split "predict"."""

    def later_cases(self, store: EventStore, cutoffs: np.ndarray) -> Cases:
        """The population of each cutoff, for a backtest."""
        raise UserError(f"a run of {self.name} has no backtest: leave cutoffs out")

    def table_scores(
        self, data: Mapping[str, Any], say: Callable[[str], None] = print
    ) -> tuple[pd.DataFrame, dict[str, Any]]:
        """The Scores table of a table of customers without time, and its counts; `say` is told what was found out."""
        raise UserError(f"task={self.name} answers for event logs, not for a table without time")

    def fingerprint(self, cases: Cases) -> str:
        """Hash of customers, cutoffs, splits and what came true: equal for runs that may be compared."""
        return cases.snapshots.fingerprint(cases.store)

    # --- the network

    def inputs(
        self, cases: Cases, *, vocabulary: Vocabulary | None = None, schema: Mapping[str, Any] | None = None
    ) -> SequenceInputs:
        """Batches of the histories; vocabulary and schema are fitted on training, or those of a run."""
        settings, reading = self.settings, schema is not None and "head" in schema
        inputs = SequenceInputs(
            cases.store,
            cases.snapshots,
            sequence=self.sequence,
            batches=self.batches(reading=reading),
            vocabulary=settings.vocabulary if vocabulary is None else vocabulary,
            schema=schema,
            history=cases.features if self.sequence.features else None,
            calendar=settings.calendar,
            targets=cases.target_NK,
            trained=None if reading else self.trained(cases),
        )
        if not reading:
            inputs.schema.update(self.head_schema(cases))
        return inputs

    def batches(self, *, reading: bool) -> BatchOptions:
        """How batches are cut: as the options say, or by tokens alone where nothing is trained."""
        options, seed = self.options, self.settings.seed
        if reading:
            return BatchOptions(None, options.max_tokens_per_batch or MAX_TOKENS, 0, seed)
        most = options.cutoffs_per_customer if isinstance(options, HeadOptions) else None
        return BatchOptions(
            options.batch_size,
            options.max_tokens_per_batch,
            options.num_workers,
            seed,
            cutoffs_per_customer=most,
            steps_per_epoch=options.steps_per_epoch,
            passes_per_epoch=options.passes_per_epoch,
        )

    def head_schema(self, cases: Cases) -> dict[str, Any]:
        """What a head must know of the training targets, as entries of the schema."""
        return {}

    def blank_schema(self) -> dict[str, Any]:
        """A schema that no data were read for: what `network` refuses for it, it refuses for any."""
        return blank_schema(self.sequence.token)

    def trained(self, cases: Cases) -> np.ndarray | None:
        """Bool `[N]`: the training snapshots that an epoch reads; None = all of them."""
        return None

    @abstractmethod
    def network(self, schema: Mapping[str, Any]) -> SequenceNetwork:
        """The untrained network for batches of this schema."""

    def module(self, network: SequenceNetwork, inputs: SequenceInputs) -> SequenceTask:
        """The Lightning module that trains `network`."""
        from clm_dl.tasks.module import SequenceTask  # applying a network shall not wait for Lightning's import

        return SequenceTask(network, monitor=self.monitor, mode=self.mode)

    def prepare(self, network: SequenceNetwork, inputs: SequenceInputs) -> None:  # noqa: B027
        """What the network takes from the training data before its first step."""

    # --- what TensorBoard's projector shows

    def start_from(self, vectors: Callable[[Cases], pd.DataFrame]) -> None:  # noqa: B027
        """Tell what a pretrained network says of cases, for the baselines that see its vectors."""

    def cards(self, cases: Cases, scores: pd.DataFrame, metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
        """A few customers of the test split with what was said of them, for the report."""
        return []

    def projected(
        self, network: SequenceNetwork, inputs: SequenceInputs, cases: Cases, scores: pd.DataFrame
    ) -> tuple[str, np.ndarray, pd.DataFrame]:
        """(tag, vectors [N, D], a row of metadata each): some customers of the test split."""
        test = np.flatnonzero(cases.snapshots.split == "test")
        shown = np.sort(np.random.default_rng(0).permutation(test)[:MAX_PROJECTED])
        part = cases.snapshots.select(shown)
        ids = pd.DataFrame(
            {
                "customer_id": cases.store.customer_ids[part.customer],
                "cutoff": pd.to_datetime(part.cutoff, unit="us", utc=True),
            }
        )
        keys = ["customer_id", "cutoff"]  # of several rows a snapshot, as of horizons, the first
        known = scores[(scores["model"] == NETWORK) & (scores["split"] == "test")].drop_duplicates(keys)
        metadata = ids.merge(known[[*keys, "label", "score"]], how="left", on=keys)
        return "customers", customer_vectors(network, inputs, shown), metadata


class ScoredTask(Task):
    """A task whose answers, the network's and the baselines', become rows of the Scores table and figures.

    Attributes:
        calibrated, detectable, leads_with_best, chosen_on: see `evaluation.summary.Judged`.
        watched: metrics of calibration that a backtest shows, the first of which warns; () where none can be made.
        predicts: whether it says anything of a customer whose future is unknown. recommends: whether that is a list.
        of_network: options of its own, beside those of every network, that bear on the network alone.
    """

    calibrated: ClassVar[bool] = True
    detectable: ClassVar[bool] = False
    leads_with_best: ClassVar[bool] = False
    chosen_on: ClassVar[tuple[str, ...]] = ("val",)
    watched: ClassVar[tuple[str, ...]] = ()
    predicts: ClassVar[bool] = True
    recommends: ClassVar[bool] = False
    of_network: ClassVar[tuple[str, ...]] = ()

    @property
    def questions(self) -> tuple[ScoredTask, ...]:
        return (self,)

    @abstractmethod
    def answers(self, network: SequenceNetwork, inputs: SequenceInputs, rows: np.ndarray) -> Answers:
        """The network's answers before calibration for the rows of the dataset, in that order."""

    # --- baselines

    @abstractmethod
    def fit_baseline(self, spec: Spec, cases: Cases, others: Mapping[str, Answers]) -> tuple[Any, Answers]:
        """A baseline fitted on training, and its answers for `cases.held_out`.

        Args:
            others: answers of the models before it, for hybrids.

        Raises:
            CannotAnswer: the log or the question does not suit it.
        """

    @abstractmethod
    def baseline_answers(self, fitted: Fitted, cases: Cases, others: Mapping[str, Answers]) -> Answers:
        """The answers of a fitted baseline for all of `cases`, also of another log."""

    def held_out_answers(self, fitted: Fitted, cases: Cases) -> Answers:
        """What `fit_baseline` gave for the cases that a baseline, which is no hybrid, was fitted on."""
        return self.baseline_answers(fitted, cases, {})[cases.held_out]

    def draws(self, spec: Spec) -> bool:
        """Whether the seed may change a baseline."""
        return True

    def baseline_settings(self, spec: Spec) -> dict[str, Any]:
        """All that decides what a baseline, which is no hybrid, answers for given cases, and how that is written; a
        setting that bears on the network alone is not among it, nor the seed of what draws nothing.
        """
        settings, aside = self.settings, NOT_OF_BASELINES if self.draws(spec) else (*NOT_OF_BASELINES, "seed")
        known = {field.name: getattr(settings, field.name) for field in fields(settings) if field.name not in aside}
        task = {key: value for key, value in settings.task.items() if key not in {*OF_NETWORKS, *self.of_network}}
        return {"question": self.name, "baseline": spec.options, "task": task, **known}

    def spec(self, name: str) -> Spec:
        """The chosen baseline of that name."""
        return next(spec for spec in self.settings.specs if spec.name == name)

    def baselines(self, models: Sequence[str]) -> list[str]:
        """Those of `models` that count as baselines: without the network in them."""
        return [name for name in models if name != NETWORK]

    # --- calibration, and the Scores table

    def calibrate(
        self, answers: Answers, cases: Cases, rows: np.ndarray, *, model: Any = None, aged: bool = False
    ) -> Any:
        """The calibration of the `answers` for `rows` of the cases, fitted on those that validation keeps for it.

        Args:
            model: the baseline that answered, whose classes may have been weighted; None = the network.
            aged: they came long after training, and all of them are fitted on.
        """
        return None

    def read_calibration(self, state: Mapping[str, Any]) -> Any:
        """A calibration from what its `to_dict` gave."""
        return None

    @abstractmethod
    def write(self, cases: Cases, rows: np.ndarray, answers: Answers, calibration: Any, *, model: str) -> pd.DataFrame:
        """Rows of the Scores table of `rows` of the cases, which `answers` are of."""

    def predicted(self, table: pd.DataFrame, cases: Cases) -> pd.DataFrame:
        """The rows of a prediction, with what it says beside the columns of `write`."""
        assert cases.in_population is not None
        return table.assign(in_population=np.repeat(cases.in_population, len(table) // max(1, len(cases))))

    # --- figures

    @property
    @abstractmethod
    def pages(self) -> Pages:
        """How a run is shown."""

    @abstractmethod
    def metrics(self, summary: Mapping[str, Any] | None = None) -> Metrics:
        """The metrics of the task; some names may depend on what a run's metrics.json says."""

    @property
    def best_by(self) -> tuple[str, ...]:
        """Metrics that choose the best baseline, the first before the next."""
        return (self.metrics().main.name,)

    @property
    def objective(self) -> str:
        """The metric that a sweep optimises where it is not told."""
        return self.metrics().main.name

    @abstractmethod
    def read(self, scores: pd.DataFrame, split: str, *, models: Sequence[str] | None = None) -> Any:
        """One split of the Scores table, every model on the same snapshots; ValueError where they differ."""

    def parts(self, table: Any) -> dict[str, Any]:
        """Parts that get figures of their own, the whole first."""
        return {"overall": table}

    def by_cutoff(self, table: Any) -> dict[str, Any]:
        """Date -> its rows."""
        return {}

    @abstractmethod
    def measure(self, table: Any, *, raw: bool = False) -> Measure:
        """Every figure of every model for any weighting of the customers; `raw` of the answers before calibration."""

    @abstractmethod
    def reference(self, table: Any) -> dict[str, Any]:
        """Counts, and what a constant answer reaches ("floor")."""

    def extras(self, tables: Mapping[str, Table], cases: Iterable[Cases]) -> dict[str, Any]:
        """What metrics.json has of this task alone; `cases` of every fold, none of a table."""
        return {}
