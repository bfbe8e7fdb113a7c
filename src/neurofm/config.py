"""Configuration: pydantic models, a YAML file and `--set a.b=c`, strictly."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from neurofm.errors import ConfigError


class Config(BaseModel):
    """Base of every configuration: frozen, and a misspelt key is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


C = TypeVar("C", bound=Config)


def load(kind: type[C], file: Path | None = None, settings: Sequence[str] = ()) -> C:
    """A configuration from a YAML file (or the defaults) and `a.b=c` settings over it.

    Raises ConfigError that names the key and, where one is near, the key that was meant.
    """
    tree = _read(file) if file else {}
    for setting in settings:
        _apply(tree, setting)
    try:
        return kind.model_validate(tree)
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
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{file} is not readable YAML: {' '.join(str(error).split())}.") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{file} must hold keys and values, not a {type(tree).__name__}.")
    return tree


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
    first = error.errors()[0]
    path = [str(part) for part in first["loc"]]
    name = ".".join(path)
    if first["type"] != "extra_forbidden":
        return f"{name} = {first['input']!r}: {first['msg'].lower()}."
    keys = _keys(kind)
    near = difflib.get_close_matches(name, keys, n=1, cutoff=0.5)
    near = near or [key for key in keys if key.split(".")[-1] == path[-1]]
    hint = f"did you mean {near[0]}?" if near else f"valid keys are {', '.join(keys)}."
    return f"there is no key {name}; {hint}"


def _keys(kind: type[BaseModel], prefix: str = "") -> list[str]:
    keys = []
    for name, field in kind.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            keys += _keys(inner, f"{prefix}{name}.")
        else:
            keys.append(prefix + name)
    return keys
