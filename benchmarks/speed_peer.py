"""A plain fp32 PyTorch model of the size of IBL-MtM's NDT1-stitch (Zhang et al. 2024), fed as its own code feeds it.

Written anew from its description: width 512, 5 pre-norm layers, 8 heads, MLP 1024, a read-in of the session's units to
668, a softsign between 668 -> 1336 -> 512, learned positions, a session and a prompt token, dropout 0.2 and 0.4, fused
attention with an explicit mask of ones, summed Poisson loss, AdamW. One session a batch. A trial is CSR in Python lists,
made dense on each access with its region strings; trials are padded to the largest session when collated; masks are drawn
with three random tensors of the whole batch.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTH, LAYERS, HEADS, MLP, T, BATCH, COMMON = 512, 5, 8, 1024, 100, 16, 668


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(2))
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.up, self.down = nn.Linear(WIDTH, MLP), nn.Linear(MLP, WIDTH)
        self.drop = nn.Dropout(0.4)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        h = self.norms[0](x)
        q, k, v = (
            f(h).view(*h.shape[:2], HEADS, -1).transpose(1, 2)
            for f in (self.query, self.key, self.value)
        )
        p = 0.4 if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=seen, dropout_p=p)
        x = x + self.drop(self.out(mixed.transpose(1, 2).flatten(2)))
        return x + self.drop(self.down(functional.gelu(self.up(self.norms[1](x)))))


class Peer(nn.Module):
    def __init__(self, units: tuple[int, ...]) -> None:
        super().__init__()
        self.read_in = nn.ModuleList(nn.Linear(n, COMMON) for n in units)
        self.embed, self.project = nn.Linear(COMMON, 2 * COMMON), nn.Linear(2 * COMMON, WIDTH)
        self.position = nn.Embedding(T, WIDTH)
        self.session, self.prompt = nn.Embedding(40, WIDTH), nn.Embedding(4, WIDTH)
        self.drop = nn.Dropout(0.2)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.norm = nn.LayerNorm(WIDTH)
        self.read_out = nn.ModuleList(nn.Linear(WIDTH, n) for n in units)

    def forward(self, batch: dict[str, Any]) -> Tensor:
        at = batch["session"]
        spikes = batch["seen"][:, :, : self.read_in[at].in_features]
        x = self.project(functional.softsign(self.embed(self.read_in[at](spikes))))
        x = self.drop(x + self.position.weight)
        first = torch.stack([self.session.weight[at], self.prompt.weight[0]])
        x = torch.cat([first.expand(len(x), -1, -1), x], 1)
        seen = torch.ones(len(x), 1, T + 2, T + 2, dtype=torch.bool, device=x.device)
        for layer in self.layers:
            x = layer(x, seen)
        rates = self.read_out[at](self.norm(x)[:, 2:])
        wanted, scored = (batch[k][:, :, : rates.shape[2]] for k in ("spikes", "scored"))
        return (functional.poisson_nll_loss(rates, wanted, reduction="none") * scored).sum()


def trials(units: tuple[int, ...], n_trials: int = 48) -> list[list[dict[str, Any]]]:
    """Sessions of trials, each as the hub's rows are: CSR in Python lists, with the session's metadata."""
    rng = np.random.default_rng(0)
    names = ["VISp", "MOs", "CP", "CA1", "LP"]
    out = []
    for n in units:
        rates = rng.lognormal(np.log(5), 0.8, n) * 0.02
        region = [names[i % 5] for i in range(n)]
        rows = []
        for _ in range(n_trials):
            counts = rng.poisson(rates, (T, n))
            bins, at = np.nonzero(counts)
            edges = np.searchsorted(bins, np.arange(T + 1))
            rows.append({"data": counts[bins, at].tolist(), "indices": at.tolist(),
                         "indptr": edges.tolist(), "shape": (T, n), "region": list(region)})  # fmt: skip
        out.append(rows)
    return out


def dense(row: dict[str, Any], widest: int) -> dict[str, Any]:
    """One trial, as a loader's `__getitem__` makes it anew on each access, padded to the largest session."""
    counts = np.zeros(row["shape"], dtype=np.float32)
    for t in range(T):
        a, b = row["indptr"][t], row["indptr"][t + 1]
        counts[t, np.array(row["indices"][a:b], dtype=np.int64)] = row["data"][a:b]
    padded = np.pad(counts, ((0, 0), (0, widest - counts.shape[1])))
    region = np.pad(np.array(row["region"]), (0, widest - counts.shape[1]), constant_values="nan")
    return {"spikes": padded.astype(np.float32), "region": region}


class Loader:
    """`(step) -> batch`, on the training thread."""

    def __init__(self, units: tuple[int, ...]) -> None:
        self.rows, self.units, self.widest = trials(units), units, max(units)

    def __call__(self, step: int) -> dict[str, Any]:
        at = step % len(self.units)
        rng = np.random.default_rng(step)
        chosen = rng.integers(0, len(self.rows[at]), BATCH)
        rows = [dense(self.rows[at][i], self.widest) for i in chosen]
        spikes = torch.stack([torch.from_numpy(r["spikes"]) for r in rows])
        regions = np.stack([r["region"] for r in rows])
        del regions  # collated, and not wanted by this kind of mask
        scored = torch.bernoulli(torch.full((BATCH, 1, self.widest), 0.3)).expand_as(spikes).bool()
        zeroed = torch.bernoulli(torch.full_like(spikes, 1.0)).bool() & scored
        swapped = torch.bernoulli(torch.full_like(spikes, 0.0)).bool() & scored & ~zeroed
        noise = torch.randint_like(spikes, 0, 2)
        seen = torch.where(swapped, noise, spikes.masked_fill(zeroed, 0))
        return {"spikes": spikes, "seen": seen, "scored": scored.float(), "session": at}
