"""Numbers that the pages repeat from the code."""

import re
from pathlib import Path

from neurofm.config import load
from neurofm.data.quality import MontageConfig, PoseConfig, QualityConfig
from neurofm.data.synthetic import SimulationConfig
from neurofm.evaluate.baselines import BASELINES
from neurofm.pipeline import recipe
from neurofm.results import Result
from neurofm.train.pretrain import MaskConfig, PretrainConfig

DOCS = Path(__file__).parents[2] / "docs"


def rows(page: str) -> dict[str, list[str]]:
    """{first cell: the other cells} of every table row of a page that starts with a name in code."""
    text = (DOCS / page).read_text(encoding="utf-8")
    cells = [[c.strip() for c in line.strip("|").split("|")] for line in text.splitlines()
             if re.match(r"\| ?`", line)]  # fmt: skip
    return {row[0]: row[1:] for row in cells}


def test_the_sizes_of_the_recipes() -> None:
    table = rows("04-pretraining.md")
    for name in ("tiny", "small", "base"):
        backbone = load(PretrainConfig, recipe(name)).model.backbone
        assert table[f"`{name}`"][:2] == [str(backbone.width), str(backbone.layers)]


def test_the_default_shares_of_the_masks() -> None:
    table, masks = rows("03-model.md"), MaskConfig()
    shares = {"HideUnits": masks.units, "HideFuture": masks.future, "HideBins": masks.bins,
              "HideWithinRegion": masks.intra_region, "HideRegion": masks.inter_region}  # fmt: skip
    assert {name: float(table[f"`{name}`"][-1]) for name in shares} == shares


def test_every_quality_setting_is_on_its_page() -> None:
    table = rows("01-recordings.md")
    groups = {"": QualityConfig, "pose.": PoseConfig, "montage.": MontageConfig}
    fields = {f"{group}{name}": field for group, kind in groups.items()
              for name, field in kind.model_fields.items() if f"{name}." not in groups}  # fmt: skip
    for name, field in fields.items():
        assert table[f"`{name}`"][0] == str(field.default).replace("True", "true").replace(
            "False", "false"
        )


def test_every_baseline_field_and_setting_is_named() -> None:
    table = rows("05-evaluation.md")
    assert set(BASELINES) <= {key.strip("`") for key in table}
    named = {name for key in table for name in re.findall(r"`(\w+)`", key)}
    assert set(Result.__dataclass_fields__) <= named
    text = (DOCS / "07-simulation.md").read_text(encoding="utf-8")
    assert [n for n in SimulationConfig.model_fields if f"`{n}`" not in text] == []
    text = (DOCS / "04-pretraining.md").read_text(encoding="utf-8")
    assert [n for n in PretrainConfig.model_fields if f"`{n}" not in text] == []
