"""The moving parts of a training run."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from neurofm.model import checkpoint
from neurofm.model.checkpoint import Trained
from neurofm.model.model import Model
from neurofm.tokens.vocabulary import Statistics, Vocabulary
from neurofm.train.sharded import assembled, cut_like, is_cut, whole


@dataclass
class Training:
    """The moving parts of a run: what a checkpoint saves and a resume restores."""

    model: Model
    average: Model
    optimisers: tuple[torch.optim.Optimizer, ...]
    vocabulary: Vocabulary
    statistics: Statistics
    done: int = 0

    def state(self) -> dict[str, Tensor]:
        """Raw weights and the optimisers' moments, flat."""
        flat = {f"model.{k}": whole(v) for k, v in self.model.state_dict().items()}
        for number, optimiser in enumerate(self.optimisers):
            for index, moments in optimiser.state_dict()["state"].items():
                flat |= {f"optim.{number}.{index}.{k}": whole(v) for k, v in moments.items()}
        return flat

    def restore(self, trained: Trained, flat: Mapping[str, Tensor]) -> None:
        """Undo `state`, and take the average and the step from the checkpoint.

        Raises one of `checkpoint.UNFIT` if the state is that of another model.
        """
        weights = {k[6:]: v for k, v in flat.items() if k.startswith("model.")}
        self._load(self.model, weights)
        self._load(self.average, trained.model.state_dict())
        for number, optimiser in enumerate(self.optimisers):
            tables = [p for group in optimiser.param_groups for p in group["params"]]
            state: dict[int, dict[str, Tensor]] = {}
            for key, value in flat.items():
                if key.startswith(f"optim.{number}."):
                    _, _, index, name = key.split(".")
                    table = tables[int(index)]
                    if table is self.model.prompts and value.ndim:
                        value = checkpoint.with_new_prompts(value)
                    if value.shape not in (table.shape, table.shape[:1], ()):
                        raise ValueError(f"{key} is {list(value.shape)}")
                    state.setdefault(int(index), {})[name] = cut_like(value, table)
            optimiser.load_state_dict(optimiser.state_dict() | {"state": state})
        self.done = trained.step

    @property
    def cut(self) -> bool:
        """Whether the trunk is sharded, so that saving needs all processes."""
        return any(is_cut(p) for p in self.model.parameters())

    def whole_average(self) -> Model:
        """The running average as one process would hold it."""
        if not self.cut:
            return self.average
        empty = checkpoint.build_for(self.average.config, self.vocabulary, self.statistics)
        return assembled(self.average, empty)

    @staticmethod
    def _load(model: Model, weights: Mapping[str, Tensor]) -> None:
        held = model.state_dict()
        model.load_state_dict({k: cut_like(v, held[k]) for k, v in weights.items()})
