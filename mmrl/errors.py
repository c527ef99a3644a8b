"""The errors that a person can cause and repair: one line each, in the person's own words, exit
code 2.
"""


class UserError(Exception):
    """A mistake in what the user gave. The message says what, where, what was found and what to
    do.
    """

    exit_code = 2


class ConfigError(UserError):
    """A key, value or combination in the YAML or on the command line that cannot be used."""


class DataError(UserError):
    """A row or a medium that cannot be trained on. The message names the row's id."""


class RewardError(UserError):
    """A verifier that is unknown, wrongly parametrised, or that fails on its own gold answer."""


class RunError(UserError):
    """A run folder that cannot be started in or resumed from."""


class ProcessError(UserError):
    """A process that trains beside others is gone, or does not answer."""

    exit_code = 3
