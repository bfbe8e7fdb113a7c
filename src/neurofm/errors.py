"""Errors a user can meet. Every message names the file, the field and the remedy.

NeurofmError            exit code 2
├── InputError          a recording, file or argument cannot be used
├── ConfigError         a configuration key or value is wrong
├── StoreError          a store, run or checkpoint is damaged or incomplete
└── CheckFailed         exit code 3: a check ran to its end and failed
"""


class NeurofmError(Exception):
    """Base of every error that a user can mend."""

    exit_code = 2


class InputError(NeurofmError):
    """A recording, file or argument cannot be used."""


class ConfigError(NeurofmError):
    """A configuration key or value is wrong."""


class StoreError(NeurofmError):
    """A store, run or checkpoint is damaged or incomplete."""


class CheckFailed(NeurofmError):
    """A check ran to its end and failed."""

    exit_code = 3
