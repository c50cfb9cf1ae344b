"""The configuration of a training: every choice that its result depends on, written to config.yaml."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from dougong.data.batching import STRETCH
from dougong.errors import UserError, unknown
from dougong.training.budget import Budget
from dougong.training.memory import Amount
from dougong.training.plan import Plan


class TrainingConfig(BaseModel):
    """What a run is made of. With the same configuration, data, machine and versions it gives the same weights.

    Args:
        model: the whole configuration of the model.
        name: of the model, for people.
        init: the folder or hub id of the trained model whose weights it starts from; random ones when None.
        tune: what is trained: the "full" model, its "head" only, or "lora": low-rank matrices beside the layers of
            attention, and the head (see `dougong.training.lora`).
        lora_rank: of these matrices.
        lora_alpha: they are scaled by this / rank; twice the rank when None.
        layer_decay: the learning rate of a block is this times that of the next one (Howard and Ruder 2018,
            section 3.2; Clark et al. 2020, appendix B).
        data: where the data lies, or a built-in name.
        split: per cent for train/val/test of data without a split of its own.
        split_seed: of that split; not of the training, so that runs of several seeds share one split.
        task: what is learnt; read off the data when None.
        budget: steps, epochs, seconds or FLOPs.
        seed: of the weights, the order and the augmentation.
        batch_size: samples of one optimizer step; chosen by the amount of data when None. Texts share a batch with
            others of like length.
        batch_tokens: tokens of one optimizer step at most, padding counted, in place of a number of samples, of which
            batch_size then is the mean.
        accumulate: parts into which a batch is cut so that it fits into memory; the step is the same.
        recompute: blocks, from the first on, that keep nothing for the backward pass and are computed again in it
            (Chen et al. 2016): less memory, up to a third more time, the same gradients.
        memory: what the program may hold, as "4GB"; ``accumulate`` and ``recompute`` are then chosen by the cost sheet.
        optimizer: AdamW (Loshchilov and Hutter 2019) or SGD with momentum, both torch's.
        learning_rate: at its highest; chosen by the model's width when None.
        weight_decay: of weights with two or more dimensions; norms and biases have none.
        momentum: of SGD.
        betas: of AdamW.
        schedule: how the learning rate falls after the warm-up.
        warmup: share of the budget in which it rises.
        clip: largest norm of the gradient; 0 for none.
        class_weights: what a sample of each class counts for in the loss: "none", all the same; "balanced", inversely
            to the class's number of training samples (King and Zeng 2001); or a weight for each class by its name.
        label_smoothing: share of the target given to all classes (Szegedy et al. 2016, section 7).
        ema: decay of the moving average of the weights that is evaluated and kept; 0 for none.
        precision: of the forward pass.
        products: whose products of matrices linear layers and losses of float32 take on the CPU: "torch", or "onednn",
            which equals it but for rounding; the one that is quicker on this machine when None.
        compile: compile the blocks (torch.compile): some tens of seconds at first, then less time for each step where
            small operations weigh, as on a GPU; there is next to nothing to gain on a CPU.
        patience: evaluations without a better one after which training stops; 0 for never.
        evaluate_every: steps; once an epoch, and at most 20 times, when None.
        checkpoint_every: steps; at every evaluation when None.
        keep: checkpoints kept beside the best and the last.
        augment: how training pictures are varied: "auto", "none", a kind by name, or amounts as {"shift": 0.1}.
        text: column of the text in a table, or two columns; guessed when None.
        label: column of the label, or columns of 0 and 1, each named after a label; guessed when None.
        labels_split: the sign between the labels of a cell, where a text may have several; "json" for lists in JSON.
        void: of masks, names or numbers of what is of no class, separated by commas; "none" for none; by their names
            when None.
        tokenizer: of texts: "auto", a kind that is trained on them ("bpe", "wordpiece", "unigram", "characters"), or
            the folder of one; that of the model where it starts from one.
        vocab_size: tokens of a tokenizer that is trained.
        max_length: tokens that are read of a text, items of a history; chosen by the data, or by the model, when None.
        pooling: of sentence embeddings, the way from hidden states to one vector: "mean", "cls", "last", "max", or
            another of `dougong.heads.embed.POOLINGS`; that of the model where it starts from one, else the mean.
        temperature: that their cosines are divided by; 0.05 when None.
        symmetric: whether second texts also find first ones; they do when None.
        user, item, time: columns of interactions; guessed when None.
        k_core: users and items with fewer interactions are taken out, again and again; none when None.
        loss: of next items: "softmax", "sampled-softmax" or "binary"; see `dougong.tasks.recommending.choices.Choices`.
        negatives: items that a true one is told from; 1,024 of sampled-softmax, 1 of binary when None.
        ranking: "full", among all items, or "sampled-100", among 100 drawn ones, as papers did; full when None.
        seen: whether items that a user has met are ranked again: "include" or "exclude"; told by the data when None.
        device: "auto", "cpu", "cuda" or "cuda:1".
        tensorboard: whether events are written for it.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True, protected_namespaces=())

    model: dict[str, Any]
    name: str
    init: str | None = None
    tune: Literal["full", "head", "lora"] = "full"
    lora_rank: int = Field(8, ge=1)
    lora_alpha: float | None = Field(None, gt=0)
    layer_decay: float = Field(1.0, gt=0, le=1)
    data: str
    split: str | None = None
    split_seed: int = Field(0, ge=0)
    task: str | None = None
    budget: str = "10epochs"
    seed: int = Field(0, ge=0, lt=2**31)
    batch_size: int | None = Field(None, ge=1)
    batch_tokens: int | None = Field(None, ge=1)
    accumulate: int = Field(1, ge=1)
    recompute: int = Field(0, ge=0)
    memory: str | None = None
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float | None = Field(None, gt=0)
    weight_decay: float = Field(0.05, ge=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    betas: tuple[float, float] = (0.9, 0.999)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: float = Field(0.05, ge=0, lt=1)
    clip: float = Field(1.0, ge=0)
    class_weights: Literal["none", "balanced"] | dict[str, float] = "none"
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    ema: float = Field(0.0, ge=0, lt=1)
    precision: Literal["float32", "bfloat16"] = "float32"
    products: Literal["torch", "onednn"] | None = None
    compile: bool = False
    patience: int = Field(0, ge=0)
    evaluate_every: int | None = Field(None, ge=1)
    checkpoint_every: int | None = Field(None, ge=1)
    keep: int = Field(1, ge=0)
    augment: str | dict[str, Any] = "auto"
    text: str | list[str] | None = None
    label: str | list[str] | None = None
    labels_split: str | None = None
    void: str | None = None
    tokenizer: str = "auto"
    vocab_size: int | None = Field(None, ge=8)
    max_length: int | None = Field(None, ge=1)
    pooling: str | None = None
    temperature: float | None = Field(None, gt=0)
    symmetric: bool | None = None
    user: str | None = None
    item: str | None = None
    time: str | None = None
    k_core: int | None = Field(None, ge=1)
    loss: str | None = None
    negatives: int | None = Field(None, ge=1)
    ranking: str | None = None
    seen: str | None = None
    device: str = "auto"
    tensorboard: bool = True

    @field_validator("budget", mode="before")
    @classmethod
    def _budget(cls, value: Any) -> str:
        return str(Budget.parse(value))

    @field_validator("memory", mode="before")
    @classmethod
    def _memory(cls, value: Any) -> str | None:
        return None if value is None else str(Amount.parse(value))

    @field_validator("betas")
    @classmethod
    def _betas(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not all(0 <= beta < 1 for beta in value):
            raise ValueError("must lie in [0, 1)")
        return value

    @classmethod
    def parse(cls, where: str = "settings", **settings: Any) -> TrainingConfig:
        """A checked configuration.

        Raises:
            UserError: an unknown key, with the nearest known one, or a value that will not do.
        """
        for key in settings:
            if key not in cls.model_fields:
                raise unknown(where, "setting", str(key), set(cls.model_fields) - {"model", "name", "init"})
        for key, value in settings.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise UserError(f"{where}: {key}", f"{value} is no finite number", f"set another {key}")
        try:
            return cls(**settings)
        except ValidationError as error:
            fault = error.errors()[0]
            key = ".".join(str(part) for part in fault["loc"]) or "settings"
            said = fault["msg"].removeprefix("Value error, ")
            value = settings.get(str(fault["loc"][0])) if fault["loc"] else None
            message = f"{value!r} will not do: {said[0].lower() + said[1:]}"
            raise UserError(f"{where}: {key}", message, f"set another {key}") from None

    @classmethod
    def read(cls, file: Path) -> TrainingConfig:
        """A run's config.yaml.

        Raises:
            UserError: it is missing, no YAML, or not one of ours.
        """
        import yaml

        if not file.is_file():
            raise UserError(str(file.parent), "no config.yaml", "give the folder of a run")
        try:
            settings = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise UserError(str(file), f"is no YAML ({str(error).splitlines()[0]})", "restore the file") from None
        if not isinstance(settings, dict):
            raise UserError(str(file), "holds no settings", "restore the file")
        return cls.parse(str(file), **{str(key): value for key, value in settings.items()})

    def to_yaml(self) -> str:
        """As written to config.yaml."""
        import yaml

        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

    def reading(self) -> dict[str, Any]:
        """How the data is read, beside its split; see `dougong.data.open_data`."""
        return reading_of(dict(self))

    def task_for(self, data: Any, tokenizer: str | None = None) -> Any:
        """The task that the data poses, as these settings want it.

        Args:
            data: from `dougong.data.open_data`.
            tokenizer: the folder of the one that a run has trained already.
        """
        from dougong.tasks import task_for

        chosen, size, most = tokenizer or self.tokenizer, None, None
        vectors: dict[str, Any] = {key: getattr(self, key) for key in ("pooling", "temperature", "symmetric")}
        if self.init is not None:
            from dougong.interop.loading import find

            # a trained model reads pictures of the size that it was made for, and texts by its own tokenizer
            size, most = self.model.get("image_size"), self.model.get("max_length")
            chosen = str(find(self.init)) if chosen == "auto" else chosen
            vectors["source"] = str(find(self.init))
        return task_for(
            data, self.task, augment=self.augment, image_size=size, tokenizer=chosen, vocab_size=self.vocab_size,
            max_length=self.max_length, most=most, class_weights=self.class_weights, vectors=vectors,
            recommending={key: getattr(self, key) for key in ("loss", "negatives", "ranking", "seen")},
        )  # fmt: skip

    def completed(self, samples: int, lengths: Any = None) -> tuple[TrainingConfig, list[str]]:
        """The configuration with what was left open chosen, and a line for each choice.

        Args:
            samples: of the training split.
            lengths: tokens of each; None where they have no length, or all the same.

        Raises:
            UserError: a batch that cannot be cut into so many parts, or tokens for samples without a length.
        """
        chosen: dict[str, Any] = {}
        if self.batch_tokens is not None:
            if lengths is None:
                raise UserError("batch_tokens", "these samples have no lengths that differ", "set batch_size")
            steps = Plan(samples, samples, self.seed, lengths, self.batch_tokens).per_epoch
            chosen["batch_size"] = max(1, round(samples / steps))
        elif self.batch_size is None:
            # some forty steps an epoch: few samples are seen often enough, many are read fast
            chosen["batch_size"] = min(samples, 2 ** min(7, max(3, round(math.log2(max(samples, 1) / 40)))))
        elif self.batch_size > min(samples, STRETCH):  # a batch lies in one stretch of an epoch
            chosen["batch_size"] = min(samples, STRETCH)
        if self.learning_rate is None:
            if self.optimizer == "sgd":
                chosen["learning_rate"] = 0.1
            elif self.init is not None and self.tune == "full":
                chosen["learning_rate"] = 5e-5  # what was learnt is changed gently (Devlin et al. 2019, section 4.1)
            else:  # wider layers take smaller steps
                width = self.model.get("d_model") or self.model.get("width") or 128
                chosen["learning_rate"] = float(f"{min(3e-3, max(1e-4, 1.5e-3 * math.sqrt(64 / width))):.2g}")
        if self.accumulate > (chosen.get("batch_size") or self.batch_size or 1):
            raise UserError("accumulate", f"{self.accumulate} parts are more than a batch has samples", "set it lower")
        notes = [f"{key.replace('_', ' ')} {value}" for key, value in chosen.items()]
        return self.model_copy(update=chosen), notes


def reading_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What of some settings says how data is read, as `dougong.data.open_data` takes it."""
    columns = {key: settings.get(key) for key in ("text", "label", "labels_split", "void")}
    return {**columns, "interactions": {key: settings.get(key) for key in ("user", "item", "time", "k_core")}}
