"""``dougong models``: the families and sizes, and the tree of one model's parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dougong import console
from dougong.cli.app import Models, verb

if TYPE_CHECKING:
    from torch import nn


@verb("dougong models", "dougong models vit-base", "dougong models resnet-50 n_classes=10")
def models(model: Models = None, *, settings: dict[str, Any]) -> dict[str, Any]:
    """List families and sizes; NAME: draw the tree of its parts.

    The tree shows each part with its own number of parameters; equal neighbours are drawn once.
    """
    from dougong.cli.naming import configuration, one

    if not model and not settings:
        return _list()
    return _draw(one(model or [], "models"), configuration(one(model or [], "models"), settings))


def _list() -> dict[str, Any]:
    from dougong.architectures import families, sizes

    known = families()
    counted = {size.name: _parameters(size.config) for size in sizes().values()}
    rows = [
        [size.name, size.config["architecture"], console.parameters(counted[size.name]), size.parameters, size.source]
        for size in sizes().values()
    ]
    console.table("Families", ["family", "what it is"], [[family.name, family.summary] for family in known.values()])
    console.say()
    console.table("Sizes", ["size", "family", "parameters", "stated", "source"], rows)
    console.say()
    console.say("dougong models NAME draws one of them; dougong cost NAME says what it costs.")
    return {
        "families": [{"name": family.name, "summary": family.summary} for family in known.values()],
        "sizes": [
            {
                "name": size.name,
                "config": size.config,
                "parameters": counted[size.name],
                "stated": size.parameters,
                "source": size.source,
                "note": size.note,
            }
            for size in sizes().values()
        ],
    }


def _parameters(config: dict[str, Any]) -> int:
    from dougong.architectures import build

    return sum(parameter.numel() for parameter in build(config, device="meta").parameters())


def _draw(name: str, config: dict[str, Any]) -> dict[str, Any]:
    from dougong.architectures import build, families

    built = build(config, device="meta")
    total = sum(parameter.numel() for parameter in built.parameters())
    family = families()[config["architecture"]]
    console.say(f"{name}: {family.summary}")
    console.say(f"{total:,} parameters")
    console.say()
    tree = parts(built, name)
    console.tree(_labelled(tree))
    console.say()
    console.table("Arguments", ["argument", "value"], [[key, str(value)] for key, value in config.items()])
    return {"name": name, "config": config, "parameters": total, "tree": tree}


def parts(module: nn.Module, name: str) -> dict[str, Any]:
    """The tree below a module, runs of equal children folded into one with their number.

    Returns:
        name, kind, parameters (of one), times, and children.
    """
    children: list[dict[str, Any]] = []
    for child_name, child in module.named_children():
        if _does_nothing(child):
            continue
        below = parts(child, child_name)
        last = children[-1] if children else None
        if last and child_name.isdecimal() and _shape(last) == _shape(below):
            last["times"] += 1
            last["name"] = f"{last['name'].split('-')[0]}-{child_name}"
        else:
            children.append(below)
    described = f"{type(module).__name__} {_sizes(module)}".rstrip()
    own = {key: list(value.shape) for key, value in module.named_parameters(recurse=False)}
    return {
        "name": name,
        "kind": described,
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
        "own": own,
        "times": 1,
        "children": children,
    }


def _does_nothing(module: nn.Module) -> bool:
    """Empty slots are not drawn."""
    return (type(module).__name__ in ("Identity", "Add") and not any(True for _ in module.parameters())) or (
        type(module).__name__ == "Dropout" and getattr(module, "p", None) == 0
    )


def _sizes(module: nn.Module) -> str:
    """The sizes of a leaf in a few words: "768 -> 3072", "3 -> 64, 7x7, stride 2"."""
    kind = type(module).__name__
    if kind == "Linear":
        return f"{module.in_features} -> {module.out_features}"
    if kind.startswith("Conv") and hasattr(module, "kernel_size"):
        stride = _times(module.stride)
        return f"{module.in_channels} -> {module.out_channels}, {_times(module.kernel_size)}" + (
            f", stride {stride}" if set(module.stride) != {1} else ""  # type: ignore[arg-type]
        )
    if kind.startswith("BatchNorm"):
        return str(module.num_features)
    if kind == "LayerNorm":
        return _times(module.normalized_shape)
    if any(True for _ in module.children()):
        return ""
    return " ".join(module.extra_repr().split())


def _times(sizes: Any) -> str:
    return "x".join(str(size) for size in sizes)


def _shape(tree: dict[str, Any]) -> tuple[Any, ...]:
    """What must be equal for two parts to be drawn as one."""
    own = tuple((key, tuple(value)) for key, value in tree["own"].items())
    return tree["kind"], own, tuple(_named(child) for child in tree["children"])


def _named(tree: dict[str, Any]) -> tuple[Any, ...]:
    return tree["name"], tree["times"], _shape(tree)


def _labelled(tree: dict[str, Any]) -> console.Node:
    label = f"{tree['name']}  {tree['kind']}"
    if tree["times"] > 1:
        label += f"  x{tree['times']}"
    if tree["parameters"]:
        each = " each" if tree["times"] > 1 else ""
        label += f"  {console.parameters(tree['parameters'])}{each}"
    return label, [_labelled(child) for child in tree["children"]]
