"""Configuration: pydantic models, a YAML file and `--set a.b=c`, strictly."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from neurofm.errors import ConfigError


class Config(BaseModel):
    """Base of every configuration: frozen, and a misspelt key is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


C = TypeVar("C", bound=Config)
MOST_VALUES = 10_000  # of a file: more is a bomb of aliases, not a configuration


def load(kind: type[C], file: Path | str | None = None, settings: Sequence[str] = ()) -> C:
    """A configuration from a YAML file (or the defaults) and `a.b=c` settings over it.

    Raises ConfigError that names the key and, where one is near, the key that was meant.
    """
    tree = _read(Path(file)) if file else {}
    for setting in settings:
        _apply(tree, setting)
    try:
        return kind.model_validate(tree)
    except RecursionError:
        raise ConfigError(f"{file} is nested too deeply; write it as the recipes are.") from None
    except ValidationError as error:
        where = f"{file}: " if file else ""
        raise ConfigError(where + _sentence(kind, error)) from None


def dump(config: Config) -> str:
    """YAML text that `load` reads back."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def _read(file: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{file} does not exist; give the path of a YAML file.") from None
    except (
        Exception
    ) as error:  # a text may break the parser in any way: by depth, by tags, by bytes
        raise ConfigError(f"{file} is not readable YAML: {' '.join(str(error).split())}.") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{file} must hold keys and values, not a {type(tree).__name__}.")
    if _size(tree, MOST_VALUES) >= MOST_VALUES:
        raise ConfigError(
            f"{file} unfolds to {MOST_VALUES} values or more; write it without aliases."
        )
    return tree


def _size(tree: Any, most: int) -> int:
    """How many values a tree holds, aliases unfolded; counting stops at `most`."""
    n, left = 0, [tree]
    while left and n < most:
        node = left.pop()
        n += 1
        left += node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return n


def _apply(tree: dict[str, Any], setting: str) -> None:
    path, sign, text = setting.partition("=")
    if not sign or not path:
        raise ConfigError(f"--set {setting!r} must look like key.subkey=value.")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"--set {setting!r}: the value is not YAML.") from None
    *parents, last = path.split(".")
    for key in parents:
        node = tree.setdefault(key, {})
        if not isinstance(node, dict):
            raise ConfigError(f"--set {setting!r}: {key} is a value, not a group of keys.")
        tree = node
    tree[last] = value


def _sentence(kind: type[BaseModel], error: ValidationError) -> str:
    first = min(error.errors(), key=lambda e: _strangers(error, e["loc"]))
    path = [str(part) for part in first["loc"] if str(part) not in _alternatives(kind)]
    name = ".".join(path)
    if first["type"] != "extra_forbidden":
        return f"{name} = {first['input']!r}: {first['msg'].lower()}."
    if not path:
        return f"{first['msg']}."
    keys = _keys(kind)
    near = difflib.get_close_matches(name, keys, n=1, cutoff=0.5)
    near = near or [key for key in keys if key.split(".")[-1] == path[-1]]
    hint = f"did you mean {near[0]}?" if near else f"valid keys are {', '.join(keys)}."
    return f"there is no key {name}; {hint}"


def _strangers(error: ValidationError, path: tuple[int | str, ...]) -> int:
    """Complaints beside this one: where a field takes one of several groups of keys, each complains."""
    return sum(other["loc"][:-1] == path[:-1] for other in error.errors())


def _alternatives(kind: type[BaseModel]) -> set[str]:
    """Names of the classes between which a field chooses; pydantic puts them in its paths."""
    names = set()
    for field in kind.model_fields.values():
        several = _groups(field.annotation)
        names |= {inner.__name__ for inner in several} if len(several) > 1 else set()
        names |= {name for inner in several for name in _alternatives(inner)}
    return names


def _groups(annotation: Any) -> list[type[BaseModel]]:
    """The groups of keys that a field takes one of; none for a plain value."""
    choices = get_args(annotation) or (annotation,)
    return [c for c in choices if isinstance(c, type) and issubclass(c, BaseModel)]


def _keys(kind: type[BaseModel], prefix: str = "") -> list[str]:
    keys: dict[str, None] = {}
    for name, field in kind.model_fields.items():
        for inner in _groups(field.annotation):
            keys |= dict.fromkeys(_keys(inner, f"{prefix}{name}."))
        if not _groups(field.annotation):
            keys[prefix + name] = None
    return list(keys)
