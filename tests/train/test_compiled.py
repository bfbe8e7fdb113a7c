"""The compiled trunk answers and learns as the plain one does, up to rounding."""

import pytest
import torch

from neurofm.errors import ConfigError
from neurofm.train.batches import Corpus
from neurofm.train.compiled import compile_trunk, missing_compiler
from neurofm.train.loop import steps
from neurofm.train.loss import masked_loss
from neurofm.train.pretrain import PretrainConfig, prepare, sampled

CPU = torch.device("cpu")
TOY = PretrainConfig(
    bin_s=0.02,
    window_bins=20,
    windows=2,
    precision="fp32",
    model={
        "backbone": {"width": 16, "layers": 1, "heads": 1, "mlp": 16, "dropout": 0.0},
        "kernel": 0,
    },
)


def losses(training, corpus, train, n):
    loop = steps(training.model, sampled(corpus, train, TOY, "train"), training.optimisers,
                 share=lambda _: 1.0, clip=1.0, seed=0, loss=masked_loss)  # fmt: skip
    return [next(loop).loss for _ in range(n)]


@pytest.mark.filterwarnings("ignore")  # the compiler warns about torch itself
@pytest.mark.skipif(bool(missing_compiler(CPU)), reason="needs a C++ compiler")
def test_losses_and_weights_are_those_of_plain_code(sessions, sides):
    """One shape, since each takes the compiler a while."""
    train = sides["train"]
    made, measured = prepare(sessions, train, TOY, CPU)
    again, _ = prepare(sessions, train, TOY, CPU)
    corpus = Corpus.of(sessions, made.vocabulary, measured, 0.02)
    names = list(made.model.state_dict())
    compile_trunk(made.model, CPU)
    assert list(made.model.state_dict()) == names
    assert losses(made, corpus, train, 3) == pytest.approx(
        losses(again, corpus, train, 3), abs=1e-5
    )
    for name, weight in made.model.state_dict().items():
        torch.testing.assert_close(weight, again.model.state_dict()[name], atol=1e-4, rtol=1e-4)
    frames = torch._dynamo.utils.counters["frames"]
    assert frames["ok"] == frames["total"] > 0  # it was compiled


def test_what_cannot_be_compiled_is_refused_in_a_sentence(sessions, sides, monkeypatch):
    made, _ = prepare(sessions, sides["train"], TOY, CPU)
    lfads = TOY.model_copy(update={"model": type(TOY.model)(backbone={"generator": 8})})
    of_lfads, _ = prepare(sessions, sides["train"], lfads, CPU)
    with pytest.raises(ConfigError, match="leave it out with LFADS"):
        compile_trunk(of_lfads.model, CPU)
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(
        ConfigError, match=r"needs a C\+\+ compiler \(g\+\+ or clang\+\+ or c\+\+\)"
    ):
        compile_trunk(made.model, CPU)
    assert missing_compiler(torch.device("cuda")) in ("", "the package triton")
