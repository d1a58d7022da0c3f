"""The one exception of the package, importable without any physics library."""


class EnvError(ValueError):
    """A mistake of the caller, told in one line that a person can act on.

    Command line programs print the message and leave with `exit_code`.
    """

    exit_code = 2
