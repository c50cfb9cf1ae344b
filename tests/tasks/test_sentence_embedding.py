"""Sentence embedding: what is learnt, how vectors are made and kept, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from support.numbers import shake
from torch import Tensor

import dougong
from dougong.cli.app import execute
from dougong.data import open_data
from dougong.errors import UserError
from dougong.parts.output import Output
from dougong.tasks import load_task, task_for
from dougong.tasks.cutting import cut_of
from dougong.tasks.sentence_embedding import SentenceEmbedding
from dougong.training import Run
from dougong.training.loop import Loop
from dougong.training.training import configure, start
from tests.training.conftest import same, weights

GERMAN = "eins zwei drei vier fünf sechs sieben acht".split()
ENGLISH = "one two three four five six seven eight".split()
BERT = {"architecture": "bert", "d_model": 32, "n_layers": 1, "n_heads": 2, "d_ff": 64, "dropout": 0.1}
QUIET = {"tensorboard": False, "task": "sentence-embedding", "vocab_size": 120, "batch_size": 32}
PIECES = [BERT, {"architecture": "gru", "d_model": 24}, {"architecture": "textcnn", "d_model": 16, "n_filters": 8},
          {"architecture": "lstm", "d_model": 16, "bidirectional": True},
          {"architecture": "gpt2", "d_model": 32, "n_layers": 1, "n_heads": 2},
          {"architecture": "modernbert", "d_model": 32, "n_layers": 2, "n_heads": 2, "d_ff": 48},
          {"architecture": "roberta", "d_model": 32, "n_layers": 1, "n_heads": 2, "d_ff": 64}]  # fmt: skip
"""Families of every kind that reads tokens."""


def rows_of(count: int, seed: int) -> list[list[int]]:
    draw = torch.Generator().manual_seed(seed)
    sizes = torch.randint(3, 7, (count,), generator=draw).tolist()
    return [torch.randint(len(GERMAN), (size,), generator=draw).tolist() for size in sizes]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Numbers in two languages, as parallel files."""
    place = tmp_path_factory.mktemp("sentences")
    for seed, (split, count) in enumerate((("train", 600), ("val", 60), ("test", 60))):
        rows = rows_of(count, seed)
        for ending, words in (("de", GERMAN), ("en", ENGLISH)):
            text = "".join(" ".join(words[each] for each in row) + "\n" for row in rows)
            (place / f"{split}.{ending}").write_text(text, encoding="utf-8")
    return place


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs of texts with the share of words that they have in common, times 5."""
    file = tmp_path_factory.mktemp("scored") / "pairs.csv"
    lines = ["sentence1,sentence2,score"]
    for row, other in zip(rows_of(400, 7), rows_of(400, 8), strict=True):
        mixed = [*row[: len(row) // 2], *other[len(other) // 2 :]]
        share = len(set(row) & set(mixed)) / len({*row, *mixed})
        lines.append(f"{' '.join(ENGLISH[i] for i in row)},{' '.join(ENGLISH[i] for i in mixed)},{5 * share:.3f}")
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def single(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts alone, a line each."""
    file = tmp_path_factory.mktemp("single") / "lines.txt"
    file.write_text((folder / "train.en").read_text(encoding="utf-8"), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def task(folder: Path) -> SentenceEmbedding:
    return made(folder)


@pytest.fixture(scope="module")
def trained(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A BERT that has learnt which numbers are the same."""
    out = tmp_path_factory.mktemp("trained") / "run"
    return dougong.train(BERT, folder, budget="40steps", out=out, learning_rate=2e-3, evaluate_every=20, **QUIET)


def made(place: Path, **vectors: Any) -> SentenceEmbedding:
    found = task_for(open_data(place, kind="sentences"), "sentence-embedding", vectors=vectors, vocab_size=120)
    assert isinstance(found, SentenceEmbedding)
    return found


def batch_of(task: SentenceEmbedding, *indices: int) -> Any:
    return task.batch("val", torch.tensor(indices), train=False, epoch=0, seed=0)


def asked(run: Run | Path, texts: list[str]) -> Tensor:
    return torch.tensor([json.loads(answer.label) for answer in dougong.predict(run, texts)])


def test_a_batch_holds_first_texts_before_second_ones(task: SentenceEmbedding, folder: Path) -> None:
    batch = batch_of(task, 4, 9, 2)
    tokens, lengths = batch.inputs
    assert len(batch) == 3 and len(tokens) == len(lengths) == 6 and task.weight(batch) == 3
    for row, (ending, number) in enumerate((e, n) for e in ("de", "en") for n in (4, 9, 2)):
        text = (folder / f"val.{ending}").read_text(encoding="utf-8").splitlines()[number]
        assert task.tokenizer.decode(tokens[row, : lengths[row]]) == text
    assert task.lengths("val")[4] == 2 * max(int(lengths[0]), int(lengths[3]))


def test_texts_have_numbers_by_what_the_model_reads(tmp_path: Path) -> None:
    rows = "anchor,positive,split\n"
    rows += "".join(
        f"a b one two {n} {part},c d three four {n},{part}\n" for n in range(9) for part in ("train", "val")
    )
    rows += "one two,three,test\none two,four,test\nfour,one two,test\n"
    rows += "a b c d e f g h i,three,test\na b c d e f g h j,four,test\n"
    (tmp_path / "data.csv").write_text(rows)
    task = task_for(open_data(tmp_path / "data.csv", kind="sentences"), "sentence-embedding", max_length=6)
    ids = task.rows("test").ids.tolist()  # type: ignore[attr-defined]
    assert ids[0][0] == ids[1][0] == ids[2][1] and ids[1][1] == ids[2][0] and ids[0][1] == ids[3][1]
    assert len({ids[0][0], ids[0][1], ids[1][1], ids[3][0]}) == 4
    assert ids[3][0] == ids[4][0]  # they differ after what is read


def test_the_loss_is_that_of_the_definition(task: SentenceEmbedding) -> None:
    batch = batch_of(task, 0, 1, 2, 3)
    hidden = torch.randn(8, batch.inputs[0].shape[1], 6)
    means = [hidden[row, : int(length)].mean(0) for row, length in enumerate(batch.inputs[1])]
    unit = torch.stack([mean / mean.norm() for mean in means])
    cosines, true = unit[:4] @ unit[4:].T / 0.05, torch.arange(4)
    wanted = (F.cross_entropy(cosines, true) + F.cross_entropy(cosines.T, true)) / 2
    torch.testing.assert_close(task.loss(Output(hidden=hidden), batch), wanted)


def test_scored_pairs_learn_cosines(scored: Path) -> None:
    task = made(scored)
    assert (task.primary, task.measure.learns, task.measure.low) == (
        "spearman",
        "scored",
        min(float(row.tags[0]) for row in task.split("train")),
    )
    batch = batch_of(task, 0, 1, 2)
    given = [float(task.split("val")[number].tags[0]) for number in range(3)]
    hidden = torch.randn(6, batch.inputs[0].shape[1], 6)
    vectors = task.measure.vectors(Output(hidden=hidden), batch.inputs[1])
    low, high = task.measure.low, task.measure.high
    assert high == 5.0
    wanted = ((vectors[:3] * vectors[3:]).sum(1) - (torch.tensor(given) - low) / (high - low)).square().mean()
    torch.testing.assert_close(task.loss(Output(hidden=hidden), batch), wanted)
    metrics = task.new_metrics()
    for part in torch.arange(task.size("val")).split(7):
        some = task.batch("val", part, train=False, epoch=0, seed=0)
        torch.manual_seed(len(part))
        metrics.update(Output(hidden=torch.randn(2 * len(part), some.inputs[0].shape[1], 6)), some)
    first, second, targets = metrics.gathered()
    found = metrics.compute()
    assert found["spearman"] == pytest.approx(float(spearmanr((first * second).sum(1), targets).statistic))
    scores = metrics.sample_scores()
    assert sum(scores) / len(scores) == pytest.approx(found["spearman"])
    low, high = metrics.interval()
    assert low < found["spearman"] < high
    with pytest.raises(UserError, match="label_smoothing"):
        task.loss(Output(hidden=hidden), batch, label_smoothing=0.1)


@pytest.mark.parametrize("config", PIECES[:4], ids=lambda config: config["architecture"])
@pytest.mark.parametrize("pooling", ["mean", "cls", "last", "max", "weightedmean"])
def test_padding_and_other_rows_change_no_vector(folder: Path, config: dict[str, Any], pooling: str) -> None:
    task = made(folder, pooling=pooling)
    model = dougong.build(task.adapt(dougong.resolve(config))[0], seed=1).eval()
    texts = sorted((folder / "val.de").read_text(encoding="utf-8").splitlines(), key=len)

    @given(st.lists(st.sampled_from([*texts[:3], *texts[-3:]]), min_size=1, max_size=5), st.integers(0, 9))
    @settings(max_examples=10, deadline=None)
    def law(others: list[str], more: int) -> None:
        alone, crowd = task.prepare(texts[0]), task.prepare([texts[0], *others])
        wide = F.pad(crowd.inputs[0], (0, min(more, task.max_length - crowd.inputs[0].shape[1])), value=task.fill)
        with torch.no_grad():
            one = task.measure.vectors(model(*alone.inputs), alone.inputs[1])[0]
            many = task.measure.vectors(model(wide, crowd.inputs[1]), crowd.inputs[1])[0]
        torch.testing.assert_close(one, many, rtol=1e-5, atol=1e-6)

    law()


def test_it_learns_and_is_measured_over_the_whole_split(trained: Run, folder: Path) -> None:
    assert trained.result is not None
    found = dougong.evaluate(trained)
    assert {key: found[key] for key in trained.result["test"]} == pytest.approx(trained.result["test"])
    assert found["recall@1"] > 0.4 and found["mrr_low"] < found["mrr"] <= found["mrr_high"]
    sides = [(folder / f"test.{ending}").read_text(encoding="utf-8").splitlines() for ending in ("de", "en")]
    first, second = (asked(trained, side) for side in sides)
    order = list(dict.fromkeys(sides[1]))
    cosines = first @ second[[sides[1].index(text) for text in order]].T
    places = [
        1 + sum(bool(cosines[i, j] > first[i] @ second[i] + 1e-6) for j, other in enumerate(order) if other != text)
        for i, text in enumerate(sides[1])
    ]
    assert found["mrr"] == pytest.approx(sum(1 / place for place in places) / len(places), abs=1e-3)
    # the control: an untrained model finds little more than chance does
    job = trained.task()
    raw = dougong.build(trained.config.model, seed=0)
    from dougong.training.scoring import score

    assert score(raw, job, "test")[0]["recall@1"] < found["recall@1"] - 0.2


def test_the_kept_model_embeds_as_predict_does(trained: Run, folder: Path) -> None:
    texts = ["eins zwei", "three", (folder / "test.en").read_text(encoding="utf-8").splitlines()[0] * 3]
    vectors = asked(trained, texts)
    assert torch.equal(vectors.norm(dim=1).round(decimals=5), torch.ones(3))
    kept = dougong.load(trained.path / "model")
    torch.testing.assert_close(kept.embed(texts), vectors, rtol=1e-5, atol=1e-6)  # type: ignore[operator]
    assert asked(trained.path / "model", texts).equal(vectors)
    task = load_task(trained.path / "model")
    assert task.describe() == trained.task().describe() and task.measure.learns == "pairs"  # type: ignore[attr-defined]


def test_the_kept_model_opens_elsewhere(trained: Run) -> None:
    import transformers
    from sentence_transformers import SentenceTransformer

    texts = ["eins zwei drei", "seven", "acht acht acht acht one"]
    vectors = asked(trained, texts)
    theirs = SentenceTransformer(str(trained.path / "model"), device="cpu").encode(texts, convert_to_tensor=True)
    torch.testing.assert_close(theirs, vectors, rtol=1e-4, atol=1e-5)
    tokenizer = transformers.AutoTokenizer.from_pretrained(trained.path / "model")
    model = transformers.AutoModel.from_pretrained(trained.path / "model").eval()
    read = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden = model(**read).last_hidden_state
    real = read["attention_mask"][..., None]
    torch.testing.assert_close(F.normalize((hidden * real).sum(1) / real.sum(1), dim=-1), vectors, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("config", PIECES, ids=lambda config: config["architecture"])
def test_every_family_trains(config: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    pooling = "last" if config["architecture"] in ("gpt2", "gru") else None
    run = dougong.train(config, folder, budget="2steps", out=tmp_path / "run", pooling=pooling, **QUIET)
    vectors = asked(run, ["eins zwei", "three four five"])
    kept = dougong.load(run.path / "model")
    assert getattr(kept, "head", None) is None or config["architecture"] != "bert"
    torch.testing.assert_close(kept.embed(["eins zwei", "three four five"]), vectors, rtol=1e-5, atol=1e-6)  # type: ignore[operator]
    assert vectors.shape[1] == kept.feature_info[-1].channels  # type: ignore[index, union-attr]
    pipeline = json.loads((run.path / "model" / "1_Pooling" / "config.json").read_text())
    assert pipeline["pooling_mode_lasttoken" if pooling else "pooling_mode_mean_tokens"]


def stopping(given: Any, out: Path, stop_at: int) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loop, "stop", None, raising=False)
        run_loop = Loop.run

        def until(self: Loop, *given: Any, **more: Any) -> Any:
            self.stop = lambda: self.state.step >= stop_at
            return run_loop(self, *given, **more)

        patch.setattr(Loop, "run", until)
        with pytest.raises(KeyboardInterrupt):
            start(given[0], given[1], out, given[2])
    return Run(out)


@pytest.mark.parametrize("kind", ["pairs", "scored", "single"])
def test_a_run_that_was_stopped_in_an_epoch_goes_on_bit_for_bit(
    kind: str, folder: Path, scored: Path, single: Path, tmp_path: Path
) -> None:
    source = {"pairs": folder, "scored": scored, "single": single}[kind]
    settings = {key: value for key, value in QUIET.items() if key != "task"}
    opened = open_data(source, kind="sentences")

    def configured() -> Any:
        return configure(
            BERT, opened, source, task="sentence-embedding", fixed=None, budget="11steps", evaluate_every=4, **settings
        )

    config, job, lines = configured()
    assert job.size("train") > 7 * 32  # the seventh step lies in the first epoch
    whole = start(config, job, tmp_path / "whole", lines)
    stopped = stopping(configured(), tmp_path / "stopped", 7)
    torch.manual_seed(99)
    gone_on = dougong.resume(stopped.path)
    assert same(weights(whole), weights(gone_on))
    assert (whole.result or {})["test"] == (gone_on.result or {})["test"]
    fresh = start(config.model_copy(update={"seed": 1}), job, tmp_path / "other", [])
    assert not same(weights(whole), weights(fresh))


def test_single_texts_learn_by_dropout(single: Path, tmp_path: Path) -> None:
    task = made(single)
    assert (task.primary, task.higher_is_better, task.measure.learns) == ("loss", False, "single")
    batch = batch_of(task, 0, 1, 2)
    assert torch.equal(batch.inputs[0][:3], batch.inputs[0][3:]) and (batch.targets[:, 0] == batch.targets[:, 1]).all()
    quiet = {**BERT, "dropout": 0.0, "attention_dropout": 0.0}
    with pytest.raises(UserError, match="model bert: has no dropout, by which alone two readings"):
        task.adapt(dougong.resolve(quiet))
    with pytest.raises(UserError, match="model textcnn: has no dropout"):
        task.adapt(dougong.resolve("textcnn"))
    run = dougong.train(BERT, single, budget="60steps", out=tmp_path / "run", learning_rate=3e-3, **QUIET)
    raw = dougong.build(run.config.model, seed=0)
    from dougong.training.scoring import score

    assert (run.result or {})["test"]["loss"] < score(raw, run.task(), "test")[0]["loss"] - 0.1


@pytest.fixture(scope="module")
def sentence_folder(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Path:
    """A small model as sentence-transformers saves it: its first token counts, texts are read in lower case."""
    import transformers
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    place = tmp_path_factory.mktemp("theirs")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *GERMAN, *ENGLISH]
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(words), hidden_size=12, num_hidden_layers=1, num_attention_heads=3, intermediate_size=20,
        max_position_embeddings=40,
    )  # fmt: skip
    shake(transformers.BertModel(config)).save_pretrained(place / "base")
    (place / "base" / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    transformers.BertTokenizer(str(place / "base" / "vocab.txt"), do_lower_case=False).save_pretrained(place / "base")
    first = Transformer(str(place / "base"), max_seq_length=16, do_lower_case=True)
    SentenceTransformer(modules=[first, Pooling(12, "cls")], device="cpu").save_pretrained(str(place / "model"))
    return place / "model"


def test_a_sentence_model_keeps_its_length(sentence_folder: Path, tmp_path: Path) -> None:
    long = "".join(f"{' '.join(ENGLISH * 3)} {n},{' '.join(GERMAN * 3)} {n}\n" for n in range(30))
    (tmp_path / "long.csv").write_text(f"anchor,positive\n{long}", encoding="utf-8")
    data, place = open_data(tmp_path / "long.csv", kind="sentences"), str(sentence_folder)
    assert task_for(data, tokenizer=place).max_length > 24  # type: ignore[attr-defined]
    found = task_for(data, tokenizer=place, vectors={"source": place})
    assert found.max_length == 16 and found.measure.pooling == ("cls",)  # type: ignore[attr-defined]


@pytest.mark.parametrize("tune", ["full", "lora"])
def test_a_sentence_model_keeps_its_pooling(tune: str, sentence_folder: Path, folder: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {**QUIET, "vocab_size": None, "tune": tune}
    run = dougong.train(
        str(sentence_folder), folder, budget="1steps", learning_rate=1e-9, out=tmp_path / "r", **settings
    )
    task = run.task()
    assert task.measure.pooling == ("cls",) and task.max_length == 8  # type: ignore[attr-defined]
    texts = ["EINS Zwei drei", "Seven eight"]
    vectors = asked(run, texts)
    before = F.normalize(dougong.load(sentence_folder).embed(texts), dim=-1)  # type: ignore[operator]
    torch.testing.assert_close(vectors, before, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(dougong.load(run.path / "model").embed(texts), vectors)  # type: ignore[operator]
    assert not torch.allclose(vectors[0], asked(run, ["one two"])[0], atol=1e-3)
    if tune == "full":
        other = dougong.train(
            str(sentence_folder), folder, budget="1steps", pooling="mean", out=tmp_path / "mean", **settings
        )
        assert other.task().measure.pooling == ("mean",)  # type: ignore[attr-defined]
        with pytest.raises(UserError, match="tune=head: the model has no head of its own"):
            dougong.train(
                str(sentence_folder), folder, budget="1steps", out=tmp_path / "head", **{**settings, "tune": "head"}
            )


def test_a_run_goes_on_in_another(trained: Run, scored: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {**QUIET, "vocab_size": None}
    run = dougong.train(
        str(trained.path), scored, budget="1steps", learning_rate=1e-9, out=tmp_path / "run", **settings
    )
    assert run.task().measure.learns == "scored"  # type: ignore[attr-defined]
    torch.testing.assert_close(asked(run, ["one two"]), asked(trained, ["one two"]), rtol=1e-4, atol=1e-5)


def test_what_does_not_fit_is_refused(task: SentenceEmbedding, folder: Path, single: Path, trained: Run) -> None:
    for model, message in (
        ("transformer", "reads a text and writes another"),
        ("vit-micro", "reads no text"),
    ):
        with pytest.raises(UserError, match=message):
            task.adapt(dougong.resolve(model))
    with pytest.raises(UserError, match=r"pooling: .*'mena'.*mean"):
        made(folder, pooling="mena")
    with pytest.raises(UserError, match="temperature"):
        made(folder, temperature=0.0)
    with pytest.raises(UserError, match="temperature: translation has none; leave it out"):
        task_for(open_data(folder), vectors={"temperature": 0.1})
    with pytest.raises(UserError, match="max_length: 2 tokens are too few"):
        task_for(open_data(folder, kind="sentences"), max_length=2)
    with pytest.raises(UserError, match="holds single texts, and the model learnt from pairs"):
        dougong.evaluate(trained, single)


@pytest.mark.parametrize(
    ("key", "value"),
    [("pooling", "mean"), ("pooling", ["odd"]), ("learns", "all"), ("temperature", "warm"), ("low", None),
     ("symmetric", 3)],
)  # fmt: skip
def test_a_broken_description_is_refused(key: str, value: Any, trained: Run, tmp_path: Path) -> None:
    file = trained.path / "model" / "task.json"
    described = json.loads(file.read_text())
    (tmp_path / "task.json").write_text(json.dumps({**described, key: value}))
    with pytest.raises(UserError, match=f"{key}: .* will not do"):
        load_task(tmp_path)


def test_cut_texts_are_counted(folder: Path) -> None:
    task = task_for(open_data(folder, kind="sentences"), vocab_size=120, max_length=6)
    lengths = [len(one.ids) for one in task.tokenizer.encode([" ".join(GERMAN), "eins"])]  # type: ignore[attr-defined]
    assert lengths[0] > 6 >= lengths[1]
    texts = [task.split("val")[number].texts for number in range(20)]  # type: ignore[attr-defined]
    batch = task.batch("val", torch.arange(20), train=False, epoch=0, seed=0)
    encode: Callable[..., Any] = task.tokenizer.encode  # type: ignore[attr-defined]
    wanted = sum(any(len(encode(text).ids) > 6 for text in pair) for pair in texts)
    assert 0 < wanted < 20 and cut_of(task, batch, texts) == wanted
    asked_about = task.prepare([" ".join(GERMAN), "eins"])
    assert cut_of(task, asked_about, [(" ".join(GERMAN),), ("eins",)]) == 1


def test_reports_and_tables(trained: Run, scored: Path, folder: Path, tmp_path: Path) -> None:
    from dougong.report import write_run_report

    page = write_run_report(trained).read_text(encoding="utf-8")
    assert "Nearest neighbours" in page and "Ranks among" in page
    dougong.evaluate(trained, predictions=tmp_path / "said.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "said.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 60 and list(rows[0]) == ["where", "text", "text2", "cosine"]
    first, second = asked(trained, [rows[3]["text"], rows[3]["text2"]])
    assert rows[3]["cosine"] == pytest.approx(float(first @ second), abs=1e-5)
    run = dougong.train(BERT, scored, budget="2steps", out=tmp_path / "scored", **QUIET)
    assert "furthest off" in write_run_report(run).read_text(encoding="utf-8")
    dougong.evaluate(run, predictions=tmp_path / "scores.jsonl")
    assert "score" in json.loads((tmp_path / "scores.jsonl").read_text(encoding="utf-8").splitlines()[0])


def test_models_are_compared(folder: Path, tmp_path: Path) -> None:
    found = dougong.compare(
        [BERT, {"architecture": "gru", "d_model": 16}], folder, budget="3steps", seeds=1, out=tmp_path / "c", **QUIET
    )
    assert found.metric == "mrr" and {row.name for row in found.rows} == {"bert", "gru"}
    flops = {row.name: row.flops for row in found.rows}
    bert = dougong.cost.training_flops(found.rows[0].config, 64, 7)  # type: ignore[attr-defined]
    assert flops[found.rows[0].name] == pytest.approx(3 * bert, rel=0.35)  # both texts of each pair are paid for


def test_parts_of_a_batch_are_said_to_be_fewer_to_tell_apart(folder: Path, scored: Path) -> None:
    for source, said in ((folder, True), (scored, False)):
        settings = {key: value for key, value in QUIET.items() if key != "task"}
        opened = open_data(source, kind="sentences")
        lines = configure(BERT, opened, source, task="sentence-embedding", fixed=None, accumulate=2, **settings)[2]
        assert any(line.startswith("accumulate: a text is told apart") for line in lines) == said


def test_on_the_command_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "gru", "--data", str(folder), "--task", "sentence-embedding", "--budget", "2steps", "--out"]
    more = ["pooling=last", "temperature=0.1", "vocab_size=120", "tensorboard=false", "model.d_model=16"]
    assert execute([*words, str(tmp_path / "run"), *more]) == 0
    assert Run.open(tmp_path / "run").config.temperature == 0.1
    (tmp_path / "in.csv").write_text("de,en\neins,one\nzwei drei,two three\n", encoding="utf-8")
    assert execute(["predict", str(tmp_path / "run"), str(tmp_path / "in.csv"), "--text", "de", "--out",
                    str(tmp_path / "out.jsonl")]) == 0  # fmt: skip
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["text"] for row in rows] == ["eins", "zwei drei"] and len(rows[0]["vector"]) == 16
    capsys.readouterr()
    assert execute(["predict", str(tmp_path / "run"), "eins"]) == 0
    assert "(16 numbers; --out keeps all)" in capsys.readouterr().out
