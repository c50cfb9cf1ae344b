"""The task of the next item: batches against slow loops, what may not leak, resuming, asking, and every family."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import dougong
from dougong.cli.app import execute
from dougong.data import open_data
from dougong.errors import UserError
from dougong.heads.recommend import IGNORED
from dougong.parts.output import deferring
from dougong.report.comparison import write_comparison_report
from dougong.tasks import task_for
from dougong.tasks.next_item import NextItem
from dougong.training import Run
from dougong.training.loop import Loop
from dougong.training.scoring import score
from tests.training.conftest import same, weights

SASREC = {"architecture": "sasrec", "d_model": 8, "n_layers": 1, "max_length": 6, "dropout": 0.1}
BERT = {"architecture": "bert4rec", "d_model": 8, "n_layers": 1, "max_length": 6}
FAMILIES: dict[str, dict[str, Any]] = {
    "sasrec": SASREC,
    "bert4rec": BERT,
    "gru4rec": {"architecture": "gru4rec", "d_model": 8},
    "gpt2": {"architecture": "gpt2", "d_model": 8, "n_layers": 1, "n_heads": 2, "max_length": 6},
    "llama": {"architecture": "llama", "d_model": 8, "n_layers": 1, "n_heads": 2, "d_ff": 16, "max_length": 6},
    "lstm": {"architecture": "lstm", "d_model": 8},
    "bert": {"architecture": "bert", "d_model": 8, "n_layers": 1, "n_heads": 2, "d_ff": 16, "max_length": 6},
}
LOSSES = ("softmax", "sampled-softmax", "binary")


def write(folder: Path, users: int = 60, items: int = 20, name: str = "plays.csv") -> Path:
    """Users who walk along a ring of items; histories of 1 to 14."""
    draw = np.random.default_rng(0)
    lines = ["user_id,item_id,timestamp"]
    for user in range(users):
        item = int(draw.integers(items))
        for step in range(int(draw.integers(1, 15))):
            lines.append(f"u{user},i{item},{step}")
            item = (item + 1) % items if draw.random() < 0.8 else int(draw.integers(items))
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / name


@pytest.fixture(scope="module")
def plays(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("plays"))


@pytest.fixture(scope="module")
def posed(plays: Path) -> Callable[..., tuple[NextItem, nn.Module]]:
    data = open_data(plays)

    def pose(name: str, **choices: Any) -> tuple[NextItem, nn.Module]:
        task = task_for(data, max_length=6, recommending=choices)
        fitted, _ = task.adapt(dougong.resolve(FAMILIES[name]), FAMILIES[name].keys() - {"architecture"})
        return task, dougong.build(fitted, seed=0).double().eval()

    return pose


def test_interactions_pose_the_task_by_themselves(posed: Callable[..., Any]) -> None:
    task, _ = posed("sasrec")
    assert task.name == "next-item" and task.size("train") > 0 and task.size("val") == task.size("test")


def test_training_reads_train_alone_and_foresees_the_next(posed: Callable[..., Any]) -> None:
    task, _ = posed("sasrec", loss="binary", negatives=3)
    data = task.data
    learnt = {user: [] for user in range(len(data.users))}
    for user, item, code in zip(data.user.tolist(), data.item.tolist(), data.code.tolist(), strict=True):
        if code == 0:
            learnt[user].append(item)
    batch = task.batch("train", torch.arange(task.size("train")), train=True, epoch=3, seed=1)
    (tokens, lengths), targets = batch.inputs, batch.targets
    assert targets.shape == (*tokens.shape, 4) and int(lengths.max()) <= 6
    for row, where in enumerate(batch.where):
        history = learnt[data.users.to_pylist().index(where.removeprefix("user "))]
        size = int(lengths[row])
        read, came = tokens[row, :size].tolist(), targets[row, :size, 0].tolist()
        assert any(history[at : at + size + 1] == [*read, came[-1]] for at in range(len(history) - size))
        assert came[:-1] == read[1:] and (targets[row, size:, 0] == IGNORED).all()
        assert not set(targets[row, :size, 1:].flatten().tolist()) & set(history), "no negative was met in train"


def test_negatives_and_masks_are_new_each_epoch_and_the_same_in_any_company(posed: Callable[..., Any]) -> None:
    for name, choices in (("sasrec", {"loss": "binary"}), ("bert4rec", {})):
        task, _ = posed(name, **choices)

        def of(rows: list[int], task: NextItem = task, **place: int) -> list[list[Any]]:
            place = {"epoch": 0, "seed": 0} | place
            batch = task.batch("train", torch.tensor(rows), train=True, **place)
            return [
                [batch.inputs[0][row, :size].tolist(), batch.targets[row, :size].tolist()]
                for row, size in enumerate(batch.inputs[1].tolist())
            ]

        whole = of(list(range(20)))
        assert of([7, 3]) == [whole[7], whole[3]]
        assert of(list(range(20)), epoch=1) != whole != of(list(range(20)), seed=1)


def test_masks_hide_items_and_are_told_what_they_were(posed: Callable[..., Any]) -> None:
    task, _ = posed("bert4rec")
    plain, hidden, alone, real = None, 0, 0, 0
    for epoch in range(30):
        batch = task.batch("train", torch.arange(task.size("train")), train=True, epoch=epoch, seed=0)
        tokens, targets, lengths = *batch.inputs[:1], batch.targets, batch.inputs[1]
        masked = tokens == task.mask
        assert torch.equal(masked, targets != IGNORED) and masked.any(1).all()
        filled = torch.where(masked, targets, tokens)
        assert plain is None or torch.equal(filled, plain)
        plain = filled
        last = masked[torch.arange(len(tokens)), lengths - 1] & (masked.sum(1) == 1)
        hidden, alone, real = hidden + int(masked.sum()), alone + int(last.sum()), real + int(lengths.sum())
    assert 0.2 < hidden / real < 0.35 and 0.25 < alone / (30 * len(tokens)) < 0.6


@pytest.mark.parametrize("name", ["sasrec", "bert4rec"])
@pytest.mark.parametrize("split", ["val", "test"])
def test_what_is_asked_reads_only_what_came_before(name: str, split: str, posed: Callable[..., Any]) -> None:
    task, _ = posed(name)
    data, level = task.data, 1 if split == "val" else 2
    batch = task.batch(split, torch.arange(task.size(split)), train=False, epoch=0, seed=0)
    users = [int(user) for user in np.flatnonzero(np.bincount(data.user[data.code == level]))]
    for row, user in enumerate(users):
        own = data.item[data.user == user].tolist()
        at = len(own) - 3 + level
        size = int(batch.inputs[1][row])
        read = batch.inputs[0][row, :size].tolist()
        if name == "bert4rec":
            assert read.pop() == task.mask
        assert read == own[:at][-(6 - (name == "bert4rec")) :] and int(batch.targets[row]) == own[at]
        assert batch.truth[row].seen.tolist() == own[:at]


@pytest.mark.parametrize("name", FAMILIES)
def test_padding_and_other_rows_change_nothing(name: str, posed: Callable[..., Any]) -> None:
    for loss in LOSSES if name in ("sasrec", "bert4rec") else ("softmax",):
        task, model = posed(name, loss=loss)
        rows = list(range(8))

        def learnt(parts: list[list[int]], task: NextItem = task, model: nn.Module = model) -> list[Tensor]:
            model.zero_grad()
            sums, weight = torch.zeros((), dtype=torch.float64), 0.0
            for part in parts:
                batch = task.batch("train", torch.tensor(part), train=True, epoch=1, seed=3)
                with deferring():
                    sums = sums + task.loss(model(*batch.inputs), batch) * task.weight(batch)
                weight += task.weight(batch)
            (sums / weight).backward()
            return [torch.zeros(()) if p.grad is None else p.grad.clone() for p in model.parameters()]

        together, alone = learnt([rows]), learnt([[row] for row in rows])
        near = all(torch.allclose(a, b, rtol=1e-5, atol=1e-8) for a, b in zip(together, alone, strict=True))
        # of the items that the batch holds, the others are another's when rows are alone
        assert near == (loss != "sampled-softmax"), loss


def trained(model: dict[str, Any], data: Path, out: Path, stop_at: int | None = None, **settings: Any) -> Run:
    settings = {"budget": "10steps", "batch_size": 16, "tensorboard": False, "evaluate_every": 4} | settings
    if stop_at is None:
        return dougong.train(model, data, out=out, **settings)
    with pytest.MonkeyPatch.context() as patch:
        run_loop = Loop.run

        def stopping(self: Loop, show: Any = lambda *_, **__: None) -> Any:
            self.stop = lambda: self.state.step >= stop_at
            return run_loop(self, show)

        patch.setattr(Loop, "run", stopping)
        with pytest.raises(KeyboardInterrupt):
            dougong.train(model, data, out=out, **settings)
    return Run(out)


@pytest.mark.parametrize(
    ("name", "loss"), [("sasrec", "binary"), ("sasrec", "sampled-softmax"), ("bert4rec", "softmax")]
)
def test_resumed_equals_uninterrupted(name: str, loss: str, plays: Path, tmp_path: Path) -> None:
    choices = {"loss": loss, **({"negatives": 20} if loss == "sampled-softmax" else {})}
    whole = trained(FAMILIES[name], plays, tmp_path / "whole", **choices)
    stopped = trained(FAMILIES[name], plays, tmp_path / "stopped", stop_at=6, **choices)
    torch.manual_seed(99)
    gone_on = dougong.resume(stopped)
    assert same(weights(whole), weights(gone_on)) and (whole.result or {})["test"] == (gone_on.result or {})["test"]
    other = trained(FAMILIES[name], plays, tmp_path / "other", seed=1, **choices)
    assert not same(weights(whole), weights(other))


def test_models_that_look_both_ways_and_back_only_are_compared_each_as_it_reads(plays: Path, tmp_path: Path) -> None:
    names = ["gru4rec", "bert4rec"]
    found = dougong.compare(
        {name: FAMILIES[name] for name in names}, plays, budget="3steps", seeds=1, out=tmp_path / "both"
    )
    assert "Beside rules without weights" in write_comparison_report(found).read_text(encoding="utf-8")
    tasks = {name: found.runs(name)[0].task() for name in names}
    models = {name: found.runs(name)[0].model() for name in names}
    assert tasks["bert4rec"].masked and not tasks["gru4rec"].masked
    for name, model in models.items():
        right, metrics = score(model, tasks[name], "test")
        for other in names:  # whose ever task it is that a model is judged by
            seen, again = score(model, tasks[other], "test")
            assert seen == right and again.sample_scores() == metrics.sample_scores()
    assert tasks["gru4rec"].read_by(models["gru4rec"]) is tasks["gru4rec"]
    # control: histories without the mask at their end, which a model that looks both ways cannot answer well
    batch = tasks["gru4rec"].batch("test", torch.arange(3), train=False, epoch=0, seed=0)
    assert (batch.inputs[0] < tasks["gru4rec"].mask).all()
    read = tasks["gru4rec"].read_by(models["bert4rec"]).batch("test", torch.arange(3), train=False, epoch=0, seed=0)
    assert (read.inputs[0] == tasks["gru4rec"].mask).sum() == 3
    assert [one.seen.tolist() for one in read.truth] == [one.seen.tolist() for one in batch.truth]


@pytest.fixture(scope="module")
def run(plays: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("run") / "run"
    return trained(SASREC, plays, out, budget="60epochs", learning_rate=0.02, evaluate_every=40)


def test_it_learns_what_follows_and_stands_beside_rules(run: Run) -> None:
    result = run.result or {}
    assert set(result["baselines"]) == {"popularity", "last-item co-occurrence", "item-kNN"}
    best = max(rule["ndcg@10"] for rule in result["baselines"].values())
    assert result["test"]["ndcg@10"] > best, "the ring can be learnt, and rules do not know directions"
    assert result["test"].keys() - {"loss"} == result["baselines"]["popularity"].keys()


def test_evaluation_equals_a_loop_over_users(run: Run, tmp_path: Path) -> None:
    model, task = run.model(), run.task()
    found = dougong.evaluate(run, seen="exclude")
    gains = []
    data = task.data
    for user in np.flatnonzero(np.bincount(data.user[data.code == 2], minlength=len(data.users))).tolist():
        own = data.item[data.user == user].tolist()
        with torch.no_grad():
            scores = model(torch.tensor([own[:-1][-6:]])).logits[0, -1]
        left = [item for item in range(len(data.items)) if item not in own[:-1] or item == own[-1]]
        rank = 1 + sum(float(scores[item]) > float(scores[own[-1]]) for item in left)
        gains.append(1 / np.log2(rank + 1) if rank <= 10 else 0)
    assert found["ndcg@10"] == pytest.approx(np.mean(gains)) and "left out" in found["protocol"]
    assert found["ndcg@10_low"] < found["ndcg@10"] < found["ndcg@10_high"]
    assert "stay in" in dougong.evaluate(run)["protocol"], "the data holds items twice"
    sampled = dougong.evaluate(run, ranking="sampled-100")
    assert sampled["hr@10"] != found["hr@10"] and "Krichene" in sampled["protocol"]
    found = dougong.evaluate(run, predictions=tmp_path / "rows.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    hits = np.mean([row["rank"] <= 10 for row in rows])
    assert len(rows) == found["samples"] and hits == pytest.approx(found["hr@10"])
    assert all(row["correct"] == (row["predicted"][0] == row["gold"]) for row in rows)
    with pytest.raises(UserError, match="'by chance' is none"):
        dougong.evaluate(run, ranking="by chance")


def order(answer: Any) -> list[str]:
    """The items that are most probable; behind them rounding may change places."""
    return [item for item, _ in answer.top[:5]]


def test_next_items_of_histories_users_and_files(run: Run, plays: Path, tmp_path: Path) -> None:
    one, known, cold, some = dougong.predict(run, [("i3", "i4"), "i3,i4", "nobody's", "i3 nothing i4"])
    assert order(one) == order(known) == order(some) and len(one.top) == 20
    assert one.parts[0] == {"cold": False, "read": 2, "unknown": []} and some.parts[0]["unknown"] == ["nothing"]
    assert cold.parts[0]["cold"] and cold.label == max(
        run.task().data.names, key=lambda name: run.task().data.popularity[run.task().data.names.index(name)]
    )
    task = run.task()
    names = [task.data.names[item] for item in task.data.context("test").of_user(5)]
    of_user, strange = dougong.predict(run, [], users=[task.data.users[5].as_py(), "nobody"])
    assert order(of_user) == order(next(iter(dougong.predict(run, [tuple(names)])))) and strange.parts[0]["cold"]
    in_file = {answer.where: answer for answer in dougong.predict(run, Path(plays))}
    assert order(in_file[of_user.where]) == order(of_user)
    with pytest.raises(UserError, match="knows no user"):
        list(dougong.predict(run.path / "model", [], users=["u1"]))


def test_the_command_line_recommends(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["predict", str(run.path), "i3,i4", "--user", "u5", "--top", "2", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["predictions"]
    assert [row["where"] for row in rows] == ["user u5", "i3, i4"]
    assert all(len(row["items"]) == len(row["probabilities"]) == 2 for row in rows)
    assert execute(["evaluate", str(run.path), "--ranking", "sampled-100"]) == 0
    shown = capsys.readouterr().out
    assert "item-kNN" in shown and "drawn at random" in shown


def test_other_data_is_judged_by_the_items_that_are_known(run: Run, tmp_path: Path) -> None:
    other = write(tmp_path, users=30, items=23, name="other.csv")
    found = dougong.evaluate(run, other)
    assert 0 < found["samples"] <= 30
    strange = write(tmp_path, users=30, items=9, name="strange.csv")
    strange.write_text(strange.read_text().replace(",i", ",x").replace("xtem", "item"))
    with pytest.raises(UserError, match="none of the items"):
        dougong.evaluate(run, strange)


def test_training_goes_on_from_a_model_with_its_items(run: Run, tmp_path: Path) -> None:
    other = write(tmp_path, users=40, items=12, name="other.csv")
    on = trained(str(run.path), other, tmp_path / "on", budget="3steps")  # type: ignore[arg-type]
    assert on.task().catalogue.names == run.task().catalogue.names  # type: ignore[attr-defined]


def test_what_cannot_be_is_said(plays: Path, tmp_path: Path) -> None:
    for model, settings, what in (
        ("vit-micro", {}, "does not score a next item"),
        (SASREC, {"loss": "hinge"}, "loss: 'hinge' is none"),
        (SASREC, {"negatives": 3, "loss": "softmax"}, "draws none"),
        (SASREC, {"user": "who"}, "has no column 'who'"),
        (SASREC, {"k_core": 99}, "leaves nothing"),
    ):
        with pytest.raises(UserError, match=what):
            trained(model, plays, tmp_path / "no", **settings)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="image-classification has none"):
        trained("vit-micro", Path("digits"), tmp_path / "no", loss="binary")  # type: ignore[arg-type]
    assert not (tmp_path / "no").exists()
