"""Text classification: tokens and padding, losses, fitting of models, and a training from a file to a prediction."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import dougong
from dougong.cli.app import execute
from dougong.data.texts import TextData, TextRow, TextSplit
from dougong.errors import UserError
from dougong.parts.output import Output
from dougong.tasks import load_task, task_for
from dougong.tasks.text_classification import TextClassification

GOOD, BAD = ["fine", "lovely", "great", "bright"], ["awful", "dull", "weak", "grim"]


def texts(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Sentences of a few words, whose label one of them settles."""
    draw = torch.Generator().manual_seed(seed)
    found = []
    for number in range(count):
        words, label = (GOOD, "good") if number % 2 else (BAD, "bad")
        extra = ["the", "film", "was", "very", "and", "so"]
        length = int(torch.randint(1, 6, (1,), generator=draw))
        picks = [extra[int(torch.randint(6, (1,), generator=draw))] for _ in range(length)]
        found.append((" ".join([*picks, words[int(torch.randint(4, (1,), generator=draw))], str(number)]), label))
    return found


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("texts") / "films.csv"
    path.write_text("text,label\n" + "".join(f'"{text}",{label}\n' for text, label in texts(200)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def task(file: Path) -> TextClassification:
    return task_for(dougong.data.open_data(file), vocab_size=200)  # type: ignore[return-value]


def test_batches_hold_the_tokens_of_their_texts(task: TextClassification) -> None:
    split = task.data.splits["train"]
    batch = task.batch("train", torch.tensor([3, 0, 7]), train=True, epoch=0, seed=0)
    tokens, lengths = batch.inputs
    for row, number in enumerate((3, 0, 7)):
        ids = task.tokenizer.encode(split[number].texts[0]).ids
        assert tokens[row, : lengths[row]].tolist() == list(ids) and int(lengths[row]) == len(ids)
        assert int(batch.targets[row]) == split[number].labels[0] and batch.where[row] == split[number].where
    assert tokens.shape[1] == int(lengths.max())


def test_long_texts_are_cut_and_pairs_are_joined() -> None:
    rows = [TextRow((f"a b c d e f g h {n}", "x y"), (n % 2,), (), f"f:{n}") for n in range(30)]
    split = TextSplit.of(rows)
    data = TextData("d", "d", "texts", ("n", "y"), False, dict.fromkeys(("train", "val", "test"), split), {}, "", 0)
    cut = task_for(data, vocab_size=100, max_length=8)
    assert {len(row) for row in cut.rows("train")} == {8} and any("are cut to 8 tokens" in note for note in cut.notes)
    whole = task_for(data, vocab_size=100)
    assert list(whole.tokenizer.encode("a b c d e f g h 0", "x y").ids) == whole.rows("train")[0]
    with pytest.raises(UserError, match="more than the 16 places"):
        task_for(data, vocab_size=100, max_length=20, most=16)


def test_losses_are_the_textbooks() -> None:
    split = TextSplit.of([TextRow(("a",), (0, 2), (), "f:1"), TextRow(("b",), (), (), "f:2")])
    data = TextData("d", "d", "texts", ("x", "y", "z"), True, {"train": split}, {}, "", 0)
    several = task_for(data, vocab_size=50)
    batch = several.batch("train", torch.arange(2), train=False, epoch=0, seed=0)
    assert batch.targets.tolist() == [[1, 0, 1], [0, 0, 0]]
    logits = torch.tensor([[2.0, -1.0, 0.5], [0.1, 0.2, -3.0]])
    share = logits.sigmoid()
    expected = -(batch.targets * share.log() + (1 - batch.targets) * (1 - share).log()).mean()
    torch.testing.assert_close(several.loss(Output(logits=logits), batch), expected)
    assert [each.label for each in several.decode(Output(logits=logits))] == ["x, z", "y, x"]
    metrics = several.new_metrics()
    metrics.update(Output(logits=logits), batch)
    found = metrics.compute()
    assert found["subset_accuracy"] == 0.5 and found["micro_f1"] == pytest.approx(2 * 2 / (4 + 2))
    assert found["loss"] == pytest.approx(float(expected))


@pytest.mark.parametrize("name", ["textcnn-kim", "lstm-micro", "bert-base"])
def test_every_family_that_reads_tokens_is_fitted(name: str, task: TextClassification) -> None:
    fitted, lines = task.adapt(dougong.resolve(name))
    assert fitted["vocab_size"] == len(task.tokenizer) and fitted["n_classes"] == 2 and fitted["head"] == "sequence"
    model = dougong.build(fitted, device="meta")
    assert model(*(each.to("meta") for each in (torch.zeros(2, 5, dtype=torch.long),))).logits.shape == (2, 2)
    assert any("the tokenizer has so many tokens" in line for line in lines)


@pytest.mark.parametrize(
    ("config", "fixed", "trained", "said"),
    [
        ("resnet-18", (), False, "reads no text"),
        ("textcnn-kim", ("vocab_size",), False, "the tokenizer has so many tokens"),
        ({"architecture": "bert", "vocab_size": 30}, (), True, "the model 30"),
    ],
)
def test_what_does_not_fit_is_refused(
    config: object, fixed: tuple[str, ...], trained: bool, said: str, task: TextClassification
) -> None:
    with pytest.raises(UserError, match=said):
        task.adapt(dougong.resolve(config), fixed, trained)  # type: ignore[arg-type]


def test_from_a_file_to_a_prediction(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = '{"architecture": "textcnn", "d_model": 24, "n_filters": 16, "dropout": 0.1}'
    words = ["train", model, "--data", str(file), "--budget", "12epochs", "--out", str(tmp_path / "run")]
    assert execute([*words, "learning_rate=5e-3", "vocab_size=200", "tensorboard=false", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["test"]["accuracy"] >= 0.9
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "mistake" in page
    assert execute(["predict", str(tmp_path / "run"), "the film was lovely", "so dull", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["predictions"]
    assert [row["label"] for row in rows] == ["good", "bad"]
    assert execute(["evaluate", str(tmp_path / "run"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["accuracy"] == result["test"]["accuracy"]
    assert execute(["predict", str(tmp_path / "run"), "  "]) == 2


def test_a_saved_task_reads_as_the_trained_one(task: TextClassification, tmp_path: Path) -> None:
    task.keep(tmp_path)
    (tmp_path / "task.json").write_text(json.dumps(task.describe()))
    again = load_task(tmp_path)
    for text in ("the film was great", "naïve 日本語 🙂", "x " * 300):
        first, second = task.prepare(text), again.prepare(text)
        assert all(torch.equal(a, b) for a, b in zip(first.inputs, second.inputs, strict=True))
    with pytest.raises(UserError, match="is no text"):
        again.prepare([3])
    torch.testing.assert_close(
        task.loss(Output(logits=torch.zeros(2, 2)), task.batch("val", torch.arange(2), train=False, epoch=0, seed=0)),
        F.cross_entropy(torch.zeros(2, 2), torch.tensor([0, 1])),
    )
