"""The scripts of the studies: tables and paired differences of ranked runs, histories asked again in random order, a
peer's split.
"""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import torch

from clm_dl.config import compose
from clm_dl.data.log.prepare import prepare_store
from clm_dl.data.open import open_store
from clm_dl.data.ranking.catalogue import Catalogue
from clm_dl.data.ranking.protocols import build_ranking
from clm_dl.data.sequences.batch import EventBatch
from clm_dl.evaluation.summary import to_json
from clm_dl.experiment.backtest import backtest
from clm_dl.experiment.experiment import run_experiment
from clm_dl.experiment.run_files import BACKTEST, write_json
from clm_dl.experiment.settings import read_task
from clm_dl.run import Run

EXPERIMENTS = Path(__file__).parent.parent / "experiments"
OLD_RUNS = Path(__file__).parent / "old_runs" / "version_1"  # one of each kind


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(name).stem, EXPERIMENTS / name)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_scores(path: Path, scores: pd.DataFrame) -> None:
    """A finished run that has a Scores table and little else."""
    path.mkdir(parents=True)
    scores.to_parquet(path / "scores.parquet")
    (path / "config.yaml").write_text("seed: 0\n")
    (path / "status.json").write_text(json.dumps({"version": 1, "state": "finished", "reason": None}))


@pytest.fixture
def study(tmp_path: Path) -> Path:
    summarise = script("summarise.py")
    (tmp_path / "README.md").write_text(f"# A study\n\n{summarise.START}\nstale\n{summarise.END}\nThe answer.\n")
    return tmp_path


def test_summarise_ranked_runs(ranked_run: Run, train_ranked: Callable[..., Run], study: Path) -> None:
    other = train_ranked("seed=1")
    peers = study / "peers.jsonl"
    peers.write_text(
        json.dumps({"data": "events", "model": "peer", "runs": [{"seed": 0, "hr@10": 0.5, "ndcg@10": 0.25}]}) + "\n"
    )
    pairs = ["network:repeat", "repeat:popular", "network@cold_items", "network:popular@new"]
    script("summarise.py").main(
        [str(study), str(ranked_run.path), str(other.path), "--pairs", *pairs, "--peers", str(peers)]
    )
    table = pd.read_csv(study / "results.csv")
    assert len(table) == 2 * 3 + 1
    row = table[(table["seed"] == 1) & (table["model"] == "network")].iloc[0]
    metrics = other.metrics["split"]
    assert row["ndcg@10"] == pytest.approx(metrics["test"]["overall"]["network"]["ndcg@10"]["value"], abs=1e-6)
    assert row["ndcg@10 validation"] == pytest.approx(
        metrics["val"]["overall"]["network"]["ndcg@10"]["value"], abs=1e-6
    )
    assert row["ndcg@10 new"] == pytest.approx(metrics["test"]["new"]["network"]["ndcg@10"]["value"], abs=1e-6)
    text = (study / "README.md").read_text()
    assert "stale" not in text
    assert text.endswith("The answer.\n")
    network, repeat = (table[table["model"] == model] for model in ("network", "repeat"))
    assert f"| {network['coverage@10'].mean():.4f} ± {network['coverage@10'].std():.4f} |" in text
    assert "| peer | 1 | – | 0.5000 | 0.2500 |" in text
    assert "Chosen by ndcg@10 validation: gru; of the networks alone: gru." in text
    lines = {cells[1].strip(): cells[2:] for line in text.splitlines() if len(cells := line.split("|")) == 6}
    value = network["ndcg@10"].mean() - repeat["ndcg@10"].mean()
    assert lines["gru − repeat"][0].strip().startswith(f"{value:+.4f} [")
    assert {"repeat − popular", "gru, cold items", "gru − popular, new"} < set(lines)


MAIN = {"churn": "auroc", "survival": "c_index", "value": "gini", "next_item": "ndcg@10", "next_order": "ndcg@10"}


def test_summarise_every_kind_of_run(study: Path) -> None:
    """Each question of a run gives rows; those that were asked something else have a table of their own."""
    main, questions = MAIN | {"pretrain": "loss"}, []
    for path in OLD_RUNS.glob("*/metrics.json"):
        metrics = json.loads(path.read_text())
        questions += metrics.get("tasks", {metrics["task"]: metrics}).values()
    assert {one["task"] for one in questions} == set(main)
    script("summarise.py").main([str(study), str(OLD_RUNS), "--pairs", "network"])
    table, text = pd.read_csv(study / "results.csv"), (study / "README.md").read_text()
    assert sorted((row["task"], row["model"], row[main[row["task"]]]) for _, row in table.iterrows()) == sorted(
        (one["task"], model, round(figures[main[one["task"]]]["value"], 6))
        for one in questions
        for model, figures in one["split"]["test"]["overall"].items()
    )
    assert all(f"**{task}**" in text for task in main)
    assert text.count("Differences on test") == len({one["fingerprint"] for one in questions})
    assert "| marginal | 1 | 1.0000 |" in text


def test_a_ring_s_network_lives_by_the_order_of_its_histories(
    ranked_run: Run, train_ranked: Callable[..., Run], study: Path
) -> None:
    shuffle = script("order_matters/shuffle.py")
    (study / "README.md").write_text(f"{shuffle.START}\nstale\n{shuffle.END}\nThe answer.\n")
    shuffle.main([str(ranked_run.path), "--study", str(study)])
    row = pd.read_csv(study / "results.csv").iloc[0]
    assert row["ndcg@10"] == pytest.approx(
        ranked_run.metrics["split"]["test"]["overall"]["network"]["ndcg@10"]["value"], abs=1e-5
    )
    assert row["shuffled"] < 0.8 * row["ndcg@10"]
    assert row["low"] < row["difference"] < row["high"] < 0
    text = (study / "README.md").read_text()
    assert "stale" not in text
    assert f"| {row['shuffled']:.4f} |" in text


@pytest.mark.parametrize("token", ["line", "order"])
def test_shuffling_keeps_the_tokens_and_their_times(ranked_run: Run, token: str) -> None:
    config = ranked_run.config
    name = {"line": "next_item", "order": "next_order"}[token]
    chosen = {"task": {**config["task"], "name": name}, "sequence": {**config["sequence"], "token": token}}
    task = read_task({**config, **chosen, "protocol": {**config["protocol"], "name": "leave_one_out"}})
    cases = task.cases(open_store(config["data"], config["paths"]))
    batch = next(iter(task.inputs(cases).loader(cases.held_out)))
    mixed = script("order_matters/shuffle.py").shuffled(batch, torch.Generator().manual_seed(0))
    for name in ("time_BT", "gap_BT", "mask_BT"):
        assert getattr(mixed, name).equal(getattr(batch, name))

    def tokens(of: EventBatch, row: int) -> list[tuple[list[int], list[float]]]:
        found = []
        for place in range(int(of.length_B[row])):
            if token == "line":
                items = [int(of.categorical["item"][row, place])]
            else:
                ids, offsets = of.bags["item"]
                at = row * of.mask_BT.shape[1] + place
                items = ids[offsets[at] : offsets[at + 1]].tolist()
            found.append((items, of.numeric_BTF[row, place].tolist()))
        return found

    before, after = ([tokens(of, row) for row in range(len(batch))] for of in (batch, mixed))
    assert before != after
    assert [sorted(row) for row in before] == [sorted(row) for row in after]


def test_the_peer_is_asked_for_the_same_targets_from_the_same_histories(ranked_run: Run) -> None:
    store = open_store(ranked_run.config["data"], ranked_run.config["paths"])
    ranking = build_ranking(store, protocol={"name": "leave_one_out", "min_events": 8}, unit="line")
    split = script("next_item_movies/peer_rectools.py").read_split(store.path, min_events=8)
    for number, name in enumerate(["train", "val", "test"]):
        index = ranking.select(name)
        index = index[np.argsort(ranking.snapshots.customer[index])]
        snapshots = ranking.snapshots.select(index)
        lines = np.bincount(split["customer"][split["split"] < max(number, 1)], minlength=store.num_customers)
        assert lines[snapshots.customer].tolist() == (snapshots.stop - snapshots.start).tolist()
        if name != "train":
            assert 0 < len(index) < store.num_customers
            asked = split["split"] == number
            assert split["customer"][asked].tolist() == snapshots.customer.tolist()
            assert split["item"][asked].tolist() == ranking.targets[ranking.target_offsets[index]].tolist()


@pytest.fixture(scope="module")
def late_log(ring_log: pd.DataFrame) -> pd.DataFrame:
    """The ring's log, from whose last fifth on all items are new."""
    late = ring_log["ts"] >= ring_log["ts"].quantile(0.8)
    return ring_log.assign(sku=ring_log["sku"].where(~late, "new " + ring_log["sku"]))


def test_new_items_are_ranked_among_themselves(late_log: pd.DataFrame, tmp_path: Path) -> None:
    roles = {"customer": "cust", "time": "ts", "item": "sku"}
    store = prepare_store({"name": "late", "frame": late_log, "roles": roles}, tmp_path / "store")
    ranking = build_ranking(store, protocol={"name": "global_time"}, unit="line")
    cold_V = Catalogue.from_store(store, ranking.training_rows).count == 0
    wanted = np.zeros((len(ranking.snapshots), len(cold_V)))
    wanted[np.repeat(np.arange(len(wanted)), np.diff(ranking.target_offsets)), ranking.targets] = 1.0
    auc = script("cold_start/among_cold.py").auc
    equal = auc(
        lambda index_B: 5.0 * np.tile(cold_V, (len(index_B), 1)), ranking, cold_V
    )  # above all others, and equal
    assert [equal[name] for name in ("auc", "low", "high")] == [0.5, 0.5, 0.5]
    assert equal["new_items"] == cold_V.sum()
    worst = auc(lambda index_B: -wanted[index_B], ranking, cold_V)
    best = auc(lambda index_B: wanted[index_B], ranking, cold_V)
    assert worst["auc"] < 0.1 < 0.9 < best["auc"]


def test_new_items_of_a_run_are_ranked_by_its_network_and_its_content_baseline(
    train_ranked: Callable[..., Run], late_log: pd.DataFrame, tmp_path: Path
) -> None:
    study = script("cold_start/among_cold.py")
    late_log.to_csv(tmp_path / "late.csv", index=False)
    words = [f"data.path={tmp_path / 'late.csv'}", f"paths.data_dir={tmp_path}", "protocol=global_time"]
    run = train_ranked(*words, "trainer.max_epochs=1", "baselines=[content,popular]")
    (tmp_path / "README.md").write_text(f"{study.START}\nstale\n{study.END}\nThe answer.\n")
    study.main([str(run.path), "--study", str(tmp_path)])
    table, text = pd.read_csv(tmp_path / "among_cold.csv"), (tmp_path / "README.md").read_text()
    assert table["model"].tolist() == ["network", "content"]
    assert table["new_items"].eq((run.catalogue.count == 0).sum()).all()
    assert ((table["low"] <= table["auc"]) & (table["auc"] <= table["high"])).all()
    assert f"| content | 1 | {table.loc[1, 'auc']:.4f} |" in text


def test_backtests_are_collected_with_a_figure(run: Run, study: Path) -> None:
    collect, found = script("backtest/collect.py"), {}
    (study / "README.md").write_text(f"{collect.START}\nstale\n{collect.END}\nThe answer.\n")
    for seed in (0, 1):  # the same run twice
        copy = run.save(study / "runs" / str(seed))
        found = backtest(copy.trained, open_store(run.config["data"], run.config["paths"]), "rolling", resamples=5)
        write_json(copy.path / BACKTEST, to_json(found))
    collect.main([str(study / "runs"), "--study", str(study)])
    table, text = pd.read_csv(study / "results.csv"), (study / "README.md").read_text()
    assert len(table) == 2 * 2 * len(found["cutoffs"])
    newest = found["cutoffs"][-1]
    rows = table[(table["cutoff"] == newest["cutoff"]) & (table["model"] == "recalibrated")]
    ece = found["metrics"]["split"]["test"]["per_cutoff"][newest["cutoff"]]["recalibrated"]["ece"]["value"]
    assert rows["ece"].tolist() == pytest.approx([ece] * 2, abs=1e-6)
    assert "| cutoff | days | rate | AUC | ECE frozen | ECE recal. | bias frozen | bias recal. |" in text
    assert f"| {newest['cutoff']} |" in text
    assert text.endswith("The answer.\n")
    assert (study / "events.png").stat().st_size > 0


@pytest.mark.slow
def test_curves_are_held_against_the_truth_of_the_simulator(tmp_path: Path) -> None:
    truth = script("survival/truth.py")
    words = [
        "experiment=survival_simulator",
        "data.num_customers=3000",
        "encoder=none",
        "baselines=[base_rate]",
        "bootstrap=5",
    ]
    config = compose("train", [*words, f"paths.data_dir={tmp_path}", f"paths.output_dir={tmp_path / 'run'}"])
    run = Run(run_experiment(config, log=lambda text: None))
    (tmp_path / "README.md").write_text(f"{truth.START}\nstale\n{truth.END}\nThe answer.\n")
    truth.main([str(run.path), "--study", str(tmp_path)])
    table = pd.read_csv(tmp_path / "truth.csv").set_index("model")
    assert table.loc["truth"].filter(like="MAE").eq(0).all()
    assert table.loc["base_rate", "MAE, 28 days"] > 0.1
    text = (tmp_path / "README.md").read_text()
    assert "stale" not in text
    assert "| base_rate | 1 |" in text
    assert text.endswith("The answer.\n")


def test_cdnow_39_weeks_from_39() -> None:
    study = script("buy_till_you_die/run.py")
    log = study.read_sample(compose("train").paths.data_dir)
    rows, fitted = study.holdout(*study.histories(log))
    found = {row["model"]: [round(row["mae"], 4), round(row["rmse"], 3)] for row in rows}
    published = {"predict zero": [0.7985, 2.206], "bg_nbd": [0.7855, 1.608], "pareto_nbd": [0.7545, 1.603]}
    assert {name: found[name] for name in published} == published
    corr = {row["model"]: round(row["corr"], 3) for row in rows}
    assert [corr["bg_nbd"], corr["pareto_nbd"]] == [0.626, 0.630]
    bias = {row["model"]: row["bias"] for row in rows}
    assert bias["pareto_nbd"] == pytest.approx(-0.115, abs=5e-4)
    assert bias["bg_nbd"] == pytest.approx(-0.122, abs=1e-3)
    ahead = fitted["bg_nbd"].expected_purchases(39).sum()
    weeks = np.diff(np.append(0.0, fitted["bg_nbd"].expected_purchases(np.arange(1, 40)[:, None]).sum(1)))
    assert weeks.sum() == pytest.approx(ahead)


def test_the_buy_till_you_die_tables_are_those_of_its_results() -> None:
    study = script("buy_till_you_die/run.py")
    text = (EXPERIMENTS / "buy_till_you_die" / "README.md").read_text()
    table = text[text.index(study.START) + len(study.START) : text.index(study.END)]
    results = pd.read_csv(EXPERIMENTS / "buy_till_you_die" / "results.csv")
    assert table.strip() == study.markdown(results).strip()
    speed = results[results["part"] == "speed"]
    assert len(speed) == 3
    assert speed["customers"].min() >= 200_000
    assert speed["seconds"].max() < 30
    assert speed["peak_mib"].max() < 1024


SUMMARISED = [
    path.parent for path in EXPERIMENTS.glob("*/README.md") if "experiments/summarise.py -->" in path.read_text()
]


def test_there_are_studies_with_tables() -> None:
    assert len(SUMMARISED) > 5


@pytest.mark.parametrize("study", SUMMARISED, ids=lambda path: path.name)
def test_the_tables_of_a_study_are_those_of_its_results(study: Path) -> None:
    results, lines = pd.read_csv(study / "results.csv"), (study / "README.md").read_text().splitlines()
    several = [name for name in ("data", "task") if name in results and results[name].nunique() > 1]
    first = ["repeat"] if study.name.startswith("next_order") else []
    for part in [part for _, part in results.groupby(several)] if several else [results]:
        assert not set(script("summarise.py").means(part, first)) - set(lines)


@pytest.mark.parametrize("kind", ["bg_nbd", "mbg_nbd", "pareto_nbd"])
def test_speed_is_measured_on_a_fit_that_finds_its_world(kind: str) -> None:
    figures = script("buy_till_you_die/speed.py").measure(kind, 4000)
    assert figures["customers"] == 4000
    assert 0 < figures["cpu_seconds"] < 30
    found = dict(pair.split() for pair in figures["parameters"].split(", "))
    assert float(found["r"]) / float(found["alpha"]) == pytest.approx(0.55 / 10.6, rel=0.2)


def test_the_curve_of_label_efficiency_pairs_models_over_seeds(
    make_scores: Callable[..., pd.DataFrame], tmp_path: Path
) -> None:
    curve = script("pretraining/curve.py")
    noise = {f"{folder}/{model}": 0.2 * place for place, (folder, model) in enumerate(curve.MODELS)}
    scores = make_scores(noise)
    folder_of, model_of = scores["model"].str.split("/").str[0], scores["model"].str.split("/").str[1]
    for folder, rows in scores.assign(model=model_of).groupby(folder_of):
        for seed in ("0", "1"):
            write_scores(tmp_path / "runs" / folder / "0.1" / seed, rows)
    start = curve.START.format("")
    (tmp_path / "README.md").write_text(f"# A study\n\n{start}\nstale\n{curve.END}\nThe answer.\n")
    curve.main([str(tmp_path / "runs"), "--study", str(tmp_path), "--resamples", "200"])
    table = pd.read_csv(tmp_path / "results.csv")
    assert len(table) == 2 * len(curve.MODELS)
    assert table.groupby("model")["auroc"].nunique().max() == 1  # the two seeds are the same runs
    auc = table.drop_duplicates("model").set_index("model")["auroc"]
    text = (tmp_path / "README.md").read_text()
    assert "stale" not in text
    assert text.endswith("The answer.\n")
    assert f"| network from scratch | {auc['network from scratch']:.4f} ± 0.0000 |" in text
    value = auc["network fine-tuned from next event"] - auc["network from scratch"]
    line = next(
        line
        for line in text.splitlines()
        if line.startswith("| network fine-tuned from next event − network from scratch |")
    )
    low, high = (float(part) for part in line.split("[")[1].split("]")[0].split(","))
    assert f"{value:+.4f} [" in line
    assert low < value < high


def test_late_fusion_is_weighed_on_the_newest_validation_cutoff(
    make_scores: Callable[..., pd.DataFrame], tmp_path: Path
) -> None:
    fuse = script("fusion/fuse.py")
    scores = make_scores({"network": 0.5, "lightgbm": 1.0})
    for folder, rows in {"joint": scores, "alone": scores[scores["model"] == "network"]}.items():
        for seed in ("0", "1"):
            write_scores(tmp_path / folder / seed, rows)
    (tmp_path / "README.md").write_text(f"{fuse.START}\nstale\n{fuse.END}\nThe answer.\n")
    fuse.main([str(tmp_path), "--study", str(tmp_path)])
    table = pd.read_csv(tmp_path / "results.csv").drop_duplicates("model").set_index("model")
    assert len(table) == 4
    assert table.loc[fuse.JOINT, "auroc"] == table.loc[fuse.ALONE, "auroc"] > table.loc["lightgbm", "auroc"]
    assert table.loc[fuse.LATE, "auroc"] > table.loc["lightgbm", "auroc"]
    text = (tmp_path / "README.md").read_text()
    assert f"| {fuse.JOINT} − {fuse.ALONE} | +0.0000 [+0.0000, +0.0000] |" in text
    assert text.endswith("The answer.\n")


def test_the_quality_of_a_peer_s_scores_counts_ties_by_expectation() -> None:
    scores = np.array([[9.0, 5, 5, 0], [1, 2, 3, 4]])
    found = script("next_item_ml100k/peer_recbole.py").quality(scores, np.array([2, 3]))  # places 1.5 and 0, of 0, 1, …
    assert found["hr@10"] == 1
    assert found["ndcg@10"] == pytest.approx((1 / np.log2(3.5) + 1) / 2)
    assert found["mrr"] == pytest.approx((1 / 2.5 + 1) / 2)


@pytest.mark.slow
def test_questions_alone_are_paired_with_those_of_one_encoder(
    train: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("render_report", "write_results"):  # nobody looks at them
        monkeypatch.setattr(f"clm_dl.experiment.experiment.{name}", lambda *_, **__: "")
    study = script("multitask/table.py")
    alone = {name: f"task.weights={{churn:0,survival:0,value:0,next_event:0,{name}:1}}" for name in ("churn", "value")}
    # with survival, which looks further, or without: the same cutoffs
    dates = {"train": "2021-05-01,2021-05-15,2021-05-29", "val": "2021-07-10", "test": "2021-09-01"}
    asked = ["task=multitask", "task.horizons_days=[0,14]", *(f"snapshots.{name}=[{on}]" for name, on in dates.items())]
    for arm, *words in [
        ("churn", alone["churn"]),
        ("value", alone["value"]),
        ("fixed",),
        ("uncertainty", "task.weighting=uncertainty"),
    ]:
        for seed in (0, 1):
            path = f"paths.output_dir={tmp_path / 'runs' / arm / str(seed)}"
            train(*asked, "baselines=none", "trainer.max_epochs=1", f"seed={seed}", *words, path)
    (tmp_path / "README.md").write_text(f"# A study\n\n{study.START}\nstale\n{study.END}\nThe answer.\n")
    study.main([str(tmp_path / "runs"), "--study", str(tmp_path)])
    table = pd.read_csv(tmp_path / "results.csv")
    pairs = {(name, arm) for name in ("churn", "survival", "value") for arm in ("alone", "fixed", "uncertainty")} - {
        ("survival", "alone")
    }
    assert table.groupby(["question", "arm"]).size().to_dict() == dict.fromkeys(pairs, 2)
    text = (tmp_path / "README.md").read_text()
    assert "stale" not in text
    assert text.endswith("The answer.\n")
    mean = table[table["question"] == "churn"].groupby("arm")["auroc"].mean()
    assert f"| all, fixed weights − alone | {mean['fixed'] - mean['alone']:+.4f} [" in text
    assert text.count("| all, fixed weights − alone |") == 2
    assert text.count("| all, uncertainty weighting − all, fixed weights |") == 3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["churn, calibrated", "churn, tilted", "value", "ranking"])
def test_intervals_hold_the_truth_as_often_as_they_say(name: str) -> None:
    study = script("intervals/coverage.py")
    study.LARGE = 100_000
    world, metrics, noiseless = study.WORLDS[name]
    known = study.truth(world, metrics, noiseless)
    for row in study.coverage(name, 1500, datasets=100, resamples=200, known=known):
        # three standard errors below .93; where nothing is wrong the interval of an ECE begins at 0 and never misses it
        assert row["holds"] >= 0.85, row
        assert row["holds"] <= 0.99 or "ece" in row["metric"] or row["of"] == "difference", row


@pytest.mark.slow
def test_no_damage_to_a_file_goes_unseen(
    run: Run, ranked_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = script("damage/damage.py")
    monkeypatch.setattr("sys.argv", [])
    rows = study.study(tmp_path, {"churn": run, "ranked": ranked_run}, 20, seed=3, every=0)
    assert not rows[rows["outcome"].isin(study.BAD)].to_dict("records")
    assert {"said", "not read"} == set(rows["outcome"])
    assert "| all | 20 | " in study.table(rows)


def test_the_study_of_tables_judges_the_scores_out_of_the_folds():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"age": rng.integers(18, 80, 120), "left": rng.integers(0, 2, 120)})
    quick = ("data.label=left", "data.folds=2", "data.network.max_epochs=1", "baselines=[base_rate]")
    figures, seconds = script("churn_table/tables.py").judged(frame, *quick)
    assert list(figures) == ["network", "base_rate"]
    assert 0.3 < figures["base_rate"]["auroc"] < 0.7
    assert seconds > 0
