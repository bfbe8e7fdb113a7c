"""Errors a user can meet. Every message names the file, the field and the remedy.

NeurofmError            exit code 2
├── InputError          a recording, file or argument cannot be used
├── ConfigError         a configuration key or value is wrong
├── StoreError          a store, run or checkpoint is damaged or incomplete
└── CheckFailed         exit code 3: a check ran to its end and failed
"""

import unicodedata

MOST = 2000  # characters of a message; names in it may be of any length


def clean(text: object) -> str:
    """Text without control, format or surrogate characters, which could steer a terminal."""
    whole = str(text)
    if whole.isprintable():
        return whole
    return "".join("\ufffd" if unicodedata.category(c)[0] == "C" else c for c in whole)


def clean_lines(text: str) -> str:
    """Text of several lines, clean but for its line ends and tabs."""
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n".join("\t".join(map(clean, line.split("\t"))) for line in lines)


class NeurofmError(Exception):
    """Base of every error that a user can mend. Its text is one printable line, whatever it names."""

    exit_code = 2

    def __str__(self) -> str:
        text = clean(super().__str__())
        return text if len(text) <= MOST else f"{text[: MOST // 2]} ... {text[-MOST // 2 :]}"


class InputError(NeurofmError):
    """A recording, file or argument cannot be used."""


class ConfigError(NeurofmError):
    """A configuration key or value is wrong."""


class StoreError(NeurofmError):
    """A store, run or checkpoint is damaged or incomplete."""


class CheckFailed(NeurofmError):
    """A check ran to its end and failed."""

    exit_code = 3
