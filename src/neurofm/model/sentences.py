"""Embeddings of sentences by a frozen text encoder, as targets (extra `text`, through `transformers`)."""

import importlib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from numpy.typing import NDArray

from neurofm.errors import InputError

AT_ONCE = 32  # sentences


def sentence_embeddings(texts: Sequence[str], model: Path | str) -> NDArray[np.float32]:
    """(n, 1, D) means of a text encoder's last states over the words of each sentence, of length 1.

    `model`: the folder of an encoder with its tokeniser, as `save_pretrained` of transformers leaves
    it, in safetensors; nothing is downloaded, unpickled or run. Raises InputError without
    transformers or where the folder holds no such model.
    """
    library = _transformers()
    if not Path(model).is_dir():
        raise InputError(f"{model} is no folder; give that of a text encoder, downloaded before.")
    try:
        tokeniser = library.AutoTokenizer.from_pretrained(model, local_files_only=True)
        encoder = library.AutoModel.from_pretrained(
            model, local_files_only=True, use_safetensors=True, trust_remote_code=False
        ).eval()
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{model} holds no text encoder in safetensors ({error}).") from None
    parts = []
    for first in range(0, len(texts), AT_ONCE):
        words = tokeniser(
            list(texts[first : first + AT_ONCE]), padding=True, truncation=True, return_tensors="pt"
        )
        with torch.no_grad():
            states = encoder(**words).last_hidden_state
        there = words["attention_mask"][..., None].to(states.dtype)
        mean = (states * there).sum(1) / there.sum(1).clamp(min=1)
        parts.append(torch.nn.functional.normalize(mean, dim=1).numpy())
    if not parts:
        raise InputError("there is no sentence to embed.")
    return np.concatenate(parts).astype(np.float32)[:, None]


def _transformers() -> ModuleType:
    try:
        return importlib.import_module("transformers")
    except ImportError:
        raise InputError(
            "sentence embeddings need transformers; install it with pip install 'neurofm[text]', "
            "or give latents of your own."
        ) from None
