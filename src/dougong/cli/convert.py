"""``dougong convert``: a model from one layout to another, with a certificate that both compute the same."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dougong import console
from dougong.cli.app import Outcome, verb
from dougong.errors import UserError

LAYOUTS = ("huggingface", "dougong", "onnx")


@verb(
    "dougong convert runs/latest exported --to huggingface --certify",
    "dougong convert bert-folder ours --to dougong",
    "dougong convert runs/latest graph --to onnx",
)
def convert(
    source: Annotated[str, typer.Argument(metavar="SRC", help="A run, or a folder with a model in either layout.")],
    target: Annotated[Path, typer.Argument(metavar="DST", help="A folder that is new or empty.")],
    to: Annotated[str, typer.Option(metavar="LAYOUT", help="huggingface, dougong or onnx.")] = "huggingface",
    certify: Annotated[bool, typer.Option(help="Compare layer by layer and write certificate.json.")] = False,
) -> dict[str, Any] | Outcome:
    """Load a model and save it in another layout.

    With --certify the two are compared: with Transformers where it is installed and one side is in its layout, else
    with the model itself (batch against single, cache against none, float32 against float64). The exit code is 1 when
    a difference is too large.

    --to onnx writes the model's graph, with open batch and length, once onnxruntime has shown on several of them that
    it computes the same; what was compared is in onnx.json. It needs pip install "dougong[onnx]".
    """
    if to not in LAYOUTS:
        from dougong.errors import unknown

        raise unknown("--to", "layout", to, LAYOUTS)
    if to == "onnx":
        if certify:
            raise UserError("--certify", "is for weights", "leave it out: an ONNX graph is always compared")
        return _graph(source, target)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(str(target), "is there already and not an empty folder", "name a new folder")
    from dougong.interop import load, save

    model = load(source)
    save(model, target, layout=to)
    console.say(f"{source} is now in {target}, in the layout of {to}")
    value: dict[str, Any] = {"source": source, "target": str(target), "layout": to, "certificate": None}
    if not certify:
        return value
    from dougong.interop.certificate import certify as prove
    from dougong.interop.certificate import write
    from dougong.interop.loading import find

    again = load(target)
    held_to = target if to == "huggingface" else find(source)
    found = prove(again, held_to)
    value["certificate"] = found
    write(found, target)
    rows = [
        [check["name"], "none" if check["error"] is None else f"{check['error']:.1e}", f"{check['tolerance']:.1e}",
         "yes" if check["passed"] else "NO"]
        for check in found["checks"]
    ]  # fmt: skip
    console.table("", ["what is compared", "largest difference", "allowed", "passed"], rows)
    if found["passed"]:
        console.say(f"held to {found['against']}: equal; see {target / 'certificate.json'}")
        return value
    console.say(f"held to {found['against']}: NOT equal; see {target / 'certificate.json'}")
    return Outcome(value, 1)


def _graph(source: str, target: Path) -> dict[str, Any]:
    """The model as an ONNX graph, and how far apart the two are in each case."""
    from dougong.interop import load
    from dougong.interop.onnx import export, refuse, require

    require()
    refuse(target)
    found = export(load(source), target)
    rows = [
        [check["batch"], str(check["length"] or "").strip("[]").replace(",", " and"),
         check["output"], f"{check['error']:.1e}", f"{check['allowed']:.1e}"]
        for check in found["checks"]
    ]  # fmt: skip
    console.table("", ["batch", "length", "output", "largest difference", "allowed"], rows)
    console.say(f"{source} is now in {target}, as an ONNX graph; onnxruntime computes the same")
    return {"source": source, "target": str(target), "layout": "onnx", **found}
