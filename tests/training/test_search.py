"""A search: what it tries, how it ends trials, and that a stopped one makes the same trials as one that was not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

import dougong
from dougong.errors import FailureError, UserError
from dougong.training import Run, Search, evaluate, predict, resume, search
from dougong.training.loop import Loop
from dougong.training.space import Choices, Range, is_space, parse_space, written
from dougong.training.study import Study
from tests.training.conftest import SMALL

SPACE = {"learning_rate": "1e-5..0.3", "model.dropout": "0..0.5", "clip": [0, 1]}
TERMS: dict[str, Any] = {"trials": 7, "budget": "20steps", "batch_size": 32, "seed": 3, "space": SPACE}


def curves(found: Search) -> list[dict[int, float]]:
    """What each trial reported as it went."""
    with Study(found.path, {}, 0, True, {}) as study:
        return [trial.intermediate_values for trial in study.stored.get_trials()]


def tried(found: Search) -> list[tuple[Any, ...]]:
    """What must not depend on whether a search was disturbed."""
    return [(each.number, each.settings, each.state, each.value, each.steps, each.ended) for each in found.trials]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Search:
    return search(SMALL, "digits", out=tmp_path_factory.mktemp("search") / "whole", **TERMS)


def test_every_trial_is_a_run_and_judged_on_validation_alone(whole: Search) -> None:
    assert [trial.number for trial in whole.trials] == list(range(7))
    assert sorted(path.name for path in (whole.path / "trials").iterdir()) == [f"{number:03d}" for number in range(7)]
    done = [trial for trial in whole.trials if trial.state == "complete"]
    assert whole.value == max(trial.value for trial in done if trial.value is not None)
    for trial in whole.trials:
        run = whole.run(trial.number)
        result = run.result or {}
        assert result["val"]["accuracy"] == trial.value
        assert ("test" in result) == (trial.number == whole.best)
        config = run.config
        assert config.learning_rate == trial.settings["learning_rate"] and config.clip == trial.settings["clip"]
        assert config.model["dropout"] == trial.settings["model.dropout"]
        assert 1e-5 <= trial.settings["learning_rate"] <= 0.3 and trial.settings["clip"] in (0, 1)
    assert len({trial.settings["learning_rate"] for trial in whole.trials}) == 7
    assert Search.open(whole.path) == whole
    assert json.loads((whole.path / "search.json").read_text())["best"] == whole.best
    assert sum(whole.importance.values()) == pytest.approx(1) or len(done) < 6
    head, rows = whole.table()
    assert all(len(row) == len(head) for row in rows) and rows[0][0] == whole.best


def test_the_first_trial_is_what_train_would_do(whole: Search) -> None:
    first = whole.trials[0].settings
    assert first["clip"] == 1 and first["model.dropout"] == 0.2
    from dougong.training.training import configure, open_data_for

    config, _, _ = configure(SMALL, open_data_for("digits", {}), "digits", task=None, fixed=None, batch_size=32)
    assert first["learning_rate"] == config.learning_rate


def test_pruning_saves_steps(whole: Search) -> None:
    pruned = [trial for trial in whole.trials if trial.state == "pruned"]
    assert pruned
    for trial in pruned:
        assert trial.steps is not None and 6 <= trial.steps < 20 and trial.ended.startswith("pruned")
        assert trial.number >= 4
    assert all(trial.steps == 20 for trial in whole.trials if trial.state == "complete")


def test_the_folder_of_a_search_is_the_best_run(whole: Search, digits: Any) -> None:
    final = (Run.open(whole.path).result or {})["test"]
    assert final == whole.test == (whole.run().result or {})["test"]
    assert evaluate(whole.path)["accuracy"] == pytest.approx(final["accuracy"])
    pixels = digits.splits["test"].pixels(0)
    assert next(iter(predict(whole.path, [pixels]))) == next(iter(predict(whole.run().path, [pixels])))
    assert dougong.load(whole.path).config == dougong.load(whole.run().path).config


@pytest.mark.parametrize("moment", ["in a trial", "after a trial", "before a trial", "study lost"])
def test_a_stopped_search_makes_the_same_trials(
    moment: str, whole: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "stopped"
    with monkeypatch.context() as patch:
        if moment in ("in a trial", "study lost"):
            run_loop = Loop.run

            def stopping(self: Loop, show: Any = None) -> Any:
                if self.checkpoints.run.name == "005":
                    self.stop = lambda: self.state.step >= 5
                return run_loop(self, show)

            patch.setattr(Loop, "run", stopping)
        elif moment == "after a trial":
            tell = Study.tell

            def dying(self: Study, asked: Any, *rest: Any) -> None:
                if asked.number == 4:
                    raise KeyboardInterrupt
                tell(self, asked, *rest)

            patch.setattr(Study, "tell", dying)
        else:
            from dougong.training import training

            write = training.write_json

            def cut(file: Path, value: Any) -> None:
                if file.name == "data.json" and file.parent.name == "003":
                    raise KeyboardInterrupt
                write(file, value)

            patch.setattr(training, "write_json", cut)
        with pytest.raises(KeyboardInterrupt):
            search(SMALL, "digits", out=out, **TERMS)
    assert not (out / "search.json").exists() and not (out / "config.yaml").exists()
    with pytest.raises(UserError, match="dougong resume"):
        Search.open(out)
    if moment == "in a trial":
        with pytest.raises(UserError, match="is a trial of a search"):
            resume(out / "trials" / "005")
        assert (out / "trials" / "005" / "last").is_file()
    if moment == "study lost":
        (out / "search.db").unlink()
    found = resume(out)
    assert isinstance(found, Search)
    assert tried(found) == tried(whole) and found.best == whole.best and found.test == whole.test
    assert found.importance == whole.importance and curves(found) == curves(whole)
    assert len(curves(found)[0]) == 10
    assert resume(out) == found


def test_another_seed_tries_something_else_and_a_search_can_be_carried_further(tmp_path: Path) -> None:
    terms = {**TERMS, "budget": "4steps", "space": {"learning_rate": "1e-4..1e-2"}}
    once = search(SMALL, "digits", out=tmp_path / "a", **{**terms, "trials": 2})
    other = search(SMALL, "digits", out=tmp_path / "b", **{**terms, "trials": 2, "seed": 4})
    assert once.trials[1].settings != other.trials[1].settings
    further = search(SMALL, "digits", out=tmp_path / "a", **{**terms, "trials": 4})
    assert tried(further)[:2] == tried(once) and len(further.trials) == 4
    straight = search(SMALL, "digits", out=tmp_path / "c", **{**terms, "trials": 4})
    assert tried(straight) == tried(further)
    with pytest.raises(UserError, match="on other terms"):
        search(SMALL, "digits", out=tmp_path / "a", **{**terms, "budget": "5steps"})
    with pytest.raises(UserError, match="as many or more"):
        search(SMALL, "digits", out=tmp_path / "a", **{**terms, "trials": 3})


def test_a_trial_that_fails_is_counted_and_the_search_goes_on(tmp_path: Path) -> None:
    space = {"model.n_heads": [2, 3], "learning_rate": [0.001, 1e30]}
    found = search(SMALL, "digits", out=tmp_path / "x", trials=6, budget="3steps", clip=0, optimizer="sgd", space=space)
    states = {trial.state for trial in found.trials}
    assert len(found.trials) == 6 and states == {"complete", "failed"}
    for trial in found.trials:
        assert (trial.state == "failed") == (
            trial.settings["model.n_heads"] == 3 or trial.settings["learning_rate"] > 1
        )
        assert (trial.value is None) == (trial.state == "failed")
    with pytest.raises(FailureError, match="none of 2 trials"):
        search(SMALL, "digits", out=tmp_path / "y", trials=2, budget="3steps", space={"model.n_heads": [3, 5]})


def test_texts_and_their_default_space(tmp_path: Path) -> None:
    rows = [f"{'good fine' if at % 2 else 'bad poor'} word{at},{'yes' if at % 2 else 'no'}" for at in range(80)]
    (tmp_path / "texts.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    model = {"architecture": "textcnn", "d_model": 8, "n_filters": 4, "widths": [2, 3]}
    found = search(model, tmp_path / "texts.csv", trials=3, budget="1epochs", out=tmp_path / "out", warmup=0.1)
    assert set(found.space) == {"learning_rate", "batch_size", "weight_decay", "label_smoothing"}
    terms = yaml.safe_load((tmp_path / "out" / "search.yaml").read_text())
    assert terms["space"] == found.space and terms["data"] == str(tmp_path / "texts.csv")
    assert {answer.label for answer in predict(found.path, ["good fine", "bad poor"])} <= {"yes", "no"}
    rows[0] = "another text,no"
    (tmp_path / "texts.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    (found.path / "search.json").unlink()
    with pytest.raises(UserError, match="is not the data of this search"):
        resume(found.path)


def test_lora_and_layer_decay_are_searched_where_they_are_used(whole: Search, tmp_path: Path) -> None:
    terms: dict[str, Any] = {"trials": 2, "budget": "2steps"}
    lora = search(str(whole.path), "digits", out=tmp_path / "lora", tune="lora", **terms)
    assert lora.space["lora_rank"] == [4, 8, 16, 32] and "layer_decay" not in lora.space
    assert lora.trials[0].settings["lora_rank"] == 8
    full = search(str(whole.path), "digits", out=tmp_path / "full", **terms)
    assert full.space["layer_decay"] == "0.6..1.0" and full.space["learning_rate"] == "5e-06..0.0005"
    assert "batch_size" not in full.space  # a budget of steps does not pay for larger ones


def test_what_a_trained_model_fixes_is_not_searched(whole: Search, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="weights of the trained model"):
        search(str(whole.path), "digits", trials=2, space={"model.n_layers": "1..3"}, out=tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_odd_names_and_a_damaged_study(tmp_path: Path) -> None:
    out = tmp_path / "a b?c=1#d%20 文"
    found = search(SMALL, "digits", trials=1, budget="2steps", out=out)
    assert (out / "search.db").is_file() and resume(out) == found
    (out / "search.json").unlink()
    (out / "search.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(UserError, match=r"search\.db: cannot be read"):
        resume(out)
    (out / "search.db").unlink()
    assert tried(resume(out)) == tried(found)  # type: ignore[arg-type]
    (out / "search.json").unlink()
    (out / "search.yaml").write_text("[1, 2]")
    with pytest.raises(UserError, match="holds no search"):
        resume(out)


def test_a_budget_of_seconds(tmp_path: Path) -> None:
    found = search(SMALL, "digits", trials=2, budget="0.3s", evaluate_every=2, out=tmp_path / "x")
    assert len(found.trials) == 2 and all((trial.steps or 0) > 0 for trial in found.trials)
    for trial, curve in zip(found.trials, curves(found), strict=True):  # the clock may run out while a split is judged
        rows = Run(found.path / "trials" / f"{trial.number:03d}").metrics()
        spent = max(row["seconds"] for row in rows if row["split"] == "val") / 0.3
        assert abs(max(curve) - 10 * min(1.0, spent)) <= 1 <= max(curve)


SPACES: dict[str, tuple[Any, Range | Choices]] = {
    "learning_rate": ("1e-5..1e-3", Range(1e-5, 1e-3, log=True, whole=False)),
    "warmup": ("0..0.2", Range(0.0, 0.2, log=False, whole=False)),
    "weight_decay": ("0.01..0.05 log", Range(0.01, 0.05, log=True, whole=False)),
    "momentum": ("0.01..0.9 linear", Range(0.01, 0.9, log=False, whole=False)),
    "batch_size": ("8..64", Range(8, 64, log=False, whole=True)),
    "lora_rank": ("1..64", Range(1, 64, log=True, whole=True)),
    "accumulate": ([1, 2], Choices((1, 2))),
    "betas": ([[0.9, 0.98], [0.9, 0.999]], Choices(([0.9, 0.98], [0.9, 0.999]))),
    "schedule": (["linear", "cosine"], Choices(("linear", "cosine"))),
    "model.dropout": ("0..0.5", Range(0.0, 0.5, log=False, whole=False)),
    "model.n_layers": ("1..4", Range(1, 4, log=False, whole=True)),
}


@pytest.mark.parametrize("key", SPACES)
def test_a_space_is_read_as_it_is_written(key: str) -> None:
    given, expected = SPACES[key]
    model = dougong.resolve(SMALL)
    assert is_space(key, given, model)
    space = parse_space({key: given}, model, "accuracy")
    assert space == {key: expected}
    assert parse_space(written(space), model, "accuracy") == space


def test_values_are_no_spaces() -> None:
    model = dougong.resolve("resnet-20")
    for key, value in {"betas": [0.9, 0.98], "text": ["a", "b"], "model.layers": [1, 2], "augment": "auto",
                       "learning_rate": 0.1, "split": "80/10/10", "data": "../x"}.items():  # fmt: skip
        assert not is_space(key, value, model), key
    assert is_space("model.layers", [[1, 2], [2, 2]], model)


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "unknown": ({"learning_rat": "1e-5..1e-3"}, "did you mean 'learning_rate'"),
    "unknown argument": ({"model.droput": "0..0.3"}, "did you mean 'model.dropout'"),
    "downwards": ({"learning_rate": "1e-3..1e-5"}, "does not go up"),
    "no logarithm": ({"warmup": "0..0.2 log"}, "has no logarithm"),
    "out of bounds": ({"warmup": "0..2"}, "2.0 will not do"),
    "not whole": ({"batch_size": "8.5..32"}, "no whole numbers"),
    "a word": ({"schedule": "1..2"}, "is no number"),
    "wrong choice": ({"schedule": ["linear", "spiral"]}, "'spiral' will not do"),
    "empty": ({"batch_size": []}, "nothing to choose from"),
    "one value": ({"learning_rate": 1e-3}, "nothing to choose from"),
    "twice": ({"batch_size": [8, 8]}, "names a choice twice"),
    "seed": ({"seed": [1, 2]}, "is the same in every trial"),
    "budget": ({"budget": ["1epochs", "2epochs"]}, "is the same in every trial"),
    "infinite": ({"learning_rate": "1e-3..1e999"}, "no finite ends"),
    "bad argument": ({"model.n_layers": "-1..2"}, "n_layers"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_space_leaves_nothing(case: str, tmp_path: Path) -> None:
    space, said = BAD[case]
    with pytest.raises(UserError) as caught:
        search(SMALL, "digits", trials=2, budget="2steps", space=space, out=tmp_path / "none")
    assert said in str(caught.value)
    assert not (tmp_path / "none").exists()


def test_other_bad_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(said: str, **terms: Any) -> None:
        with pytest.raises(UserError) as caught:
            search(SMALL, "digits", out=tmp_path / "none", **{"trials": 2, "budget": "2steps"} | terms)
        assert said in str(caught.value)
        assert not (tmp_path / "none").exists()

    refused("no number of trials", trials=0)
    refused("no number of trials", trials="many")
    refused("both a value and a space", learning_rate=0.1, space={"learning_rate": "1e-3..1e-1"})
    fixed = {"learning_rate": 0.1, "weight_decay": 0.1, "warmup": 0.1, "label_smoothing": 0.1}
    refused("every setting has its value already", **fixed)
    refused("did you mean 'learning_rate'", learning_rat=3)
    (tmp_path / "story.txt").write_text("\n".join(f"line {at} of a story" for at in range(300)))
    model = {"architecture": "gpt2", "d_model": 8, "n_layers": 1, "n_heads": 2}
    with pytest.raises(UserError, match="changes what the loss is counted over"):
        search(model, tmp_path / "story.txt", trials=2, budget="2steps", out=tmp_path / "none",
               space={"vocab_size": [64, 128]})  # fmt: skip
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    refused('pip install "dougong[search]"')
