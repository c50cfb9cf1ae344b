"""Translation: what is read, written and scored; and a training from parallel files to a prediction."""

from __future__ import annotations

from pathlib import Path

import pytest
import sacrebleu
import torch
import torch.nn.functional as F

import dougong
from dougong.cli.app import execute
from dougong.data import open_data
from dougong.data.tagging import IGNORED
from dougong.errors import UserError
from dougong.parts.output import Output
from dougong.tasks import task_for
from dougong.tasks.translation import Translation

WORDS = {"eins": "one", "zwei": "two", "drei": "three", "vier": "four", "fünf": "five", "sechs": "six"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("pairs")
    draw = torch.Generator().manual_seed(0)
    for split, count in (("train", 800), ("val", 24), ("test", 24)):
        rows = [
            [list(WORDS)[i] for i in torch.randint(6, (int(torch.randint(2, 6, (1,), generator=draw)),),
                                                   generator=draw).tolist()]
            for _ in range(count)
        ]  # fmt: skip
        (place / f"{split}.de").write_text("\n".join(map(" ".join, rows)) + "\n", encoding="utf-8")
        turned = [" ".join(WORDS[word] for word in row) for row in rows]
        (place / f"{split}.en").write_text("\n".join(turned) + "\n", encoding="utf-8")
    return place


@pytest.fixture(scope="module")
def task(folder: Path) -> Translation:
    found = task_for(open_data(folder), vocab_size=300)
    assert isinstance(found, Translation)
    return found


def test_targets_follow_what_the_decoder_reads(task: Translation) -> None:
    batch = task.batch("val", torch.arange(5), train=False, epoch=0, seed=0)
    source, target, reads, writes = batch.inputs
    assert batch.targets is not None
    for row in range(5):
        assert target[row, 0] == task.start and batch.targets[row, writes[row] - 1] == task.end
        assert source[row, reads[row] - 1] == task.end
        read, follow = target[row, 1 : writes[row]], batch.targets[row, : writes[row] - 1]
        assert torch.equal(read, follow) and task.tokenizer.decode(follow).strip() == batch.truth[row]
        assert (batch.targets[row, writes[row] :] == IGNORED).all()


def test_loss_is_the_mean_over_tokens_of_the_target(task: Translation) -> None:
    batch = task.batch("val", torch.arange(5), train=False, epoch=0, seed=0)
    assert batch.targets is not None
    logits = torch.randn(*batch.targets.shape, len(task.tokenizer))
    chosen = batch.targets != IGNORED
    torch.testing.assert_close(
        task.loss(Output(logits=logits), batch), F.cross_entropy(logits[chosen], batch.targets[chosen])
    )


def test_only_an_encoder_with_a_decoder_translates(task: Translation) -> None:
    with pytest.raises(UserError, match="gpt2: does not write one text from another"):
        task.adapt(dougong.resolve("gpt2"))


def test_train_evaluate_predict(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = {"architecture": "transformer", "d_model": 32, "n_layers": 1, "n_heads": 2, "d_ff": 64, "dropout": 0.0}
    settings = {"learning_rate": 5e-3, "vocab_size": 300, "batch_size": 32}
    run = dougong.train(model, folder, budget="400steps", out=tmp_path / "run", **settings)
    assert run.result is not None and run.result["test"]["bleu"] > 60
    found = dougong.evaluate(run)
    capsys.readouterr()
    assert execute(["evaluate", str(run.path)]) == 0
    said = capsys.readouterr().out
    assert "signature of bleu: nrefs:1|case:mixed|eff:no|tok:13a" in said and "signature of chrf: nrefs:1" in said
    assert found["bleu_low"] <= found["bleu"] <= found["bleu_high"]
    sources = (folder / "test.de").read_text(encoding="utf-8").splitlines()
    truth = (folder / "test.en").read_text(encoding="utf-8").splitlines()
    given = [answer.label for answer in dougong.predict(run, sources)]
    wanted = sacrebleu.corpus_bleu(given, [truth]).score  # of the same texts, by the library itself
    assert found["bleu"] == pytest.approx(wanted, abs=1e-6)
    assert dougong.predict(run, "eins zwei") and next(iter(dougong.predict(run, "eins zwei"))).label == "one two"
    kept = dougong.load(tmp_path / "run" / "model")
    assert dougong.generate(kept, "eins zwei", max_new_tokens=8).text.strip() == "one two"
    from dougong.report import write_run_report

    assert "worst translations" in write_run_report(run).read_text(encoding="utf-8")
