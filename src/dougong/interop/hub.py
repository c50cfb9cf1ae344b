"""Models by hub id, ``org/name`` or ``org/name@revision``, fetched with huggingface_hub."""

from __future__ import annotations

import re
from pathlib import Path

from dougong.errors import UserError
from dougong.interop.files import TRAVEL

ID = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95})(@(?P<revision>[\w./-]{1,200}))?")
BESIDE = (
    "config.json", "modules.json", "sentence_bert_config.json", "config_sentence_transformers.json",
    "*_Pooling/config.json", "*_Normalize/config.json", *TRAVEL,
)  # fmt: skip
SAFE = ("model.safetensors", "model-*-of-*.safetensors", "model.safetensors.index.json")
BIN = ("pytorch_model.bin", "pytorch_model-*-of-*.bin", "pytorch_model.bin.index.json")


def is_id(source: str) -> bool:
    """Whether a text has the form of a hub id."""
    return ID.fullmatch(source) is not None


def fetch(source: str) -> Path:
    """The folder, in the hub's cache, of a model's snapshot; only files that we read are fetched.

    ``HF_HOME``, ``HF_TOKEN``, ``HF_ENDPOINT`` and ``HF_HUB_OFFLINE`` are those of huggingface_hub.

    Raises:
        UserError: there is no such model or revision, it may not be read, or the hub cannot be reached.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    match = ID.fullmatch(source)
    if match is None:
        raise UserError(source, "is no hub id", "write org/name or org/name@revision")
    name, revision = match["name"], match["revision"]
    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=[*BESIDE, *SAFE]))
        if not any(folder.glob("model*.safetensors")):
            folder = Path(snapshot_download(name, revision=revision, allow_patterns=[*BESIDE, *BIN]))
        return folder
    except GatedRepoError:
        raise UserError(source, "may only be read after its terms are accepted", "accept them, set HF_TOKEN") from None
    except RevisionNotFoundError:
        raise UserError(source, f"has no revision {revision}", "name a branch, tag or commit that it has") from None
    except RepositoryNotFoundError:
        raise UserError(
            source, "no such folder, and no such model on the hub or it is private", "check its name, or set HF_TOKEN"
        ) from None
    except (LocalEntryNotFoundError, OfflineModeIsEnabled):
        raise UserError(
            source, "no such folder, is not in the cache, and the hub cannot be reached", "go online or give a folder"
        ) from None
    except (HfHubHTTPError, OSError, ValueError) as error:
        said = " ".join(str(error).split())[:200]
        raise UserError(source, f"cannot be fetched ({said})", "try again, or give a folder") from None
