"""The errors a user of this package can meet.

Every message says three things: which input was wrong, the value it had, and what to do about it. All of them derive
from :class:`IDFSRError`, so the command line and the nodes catch one type and lose no detail.
"""


class IDFSRError(Exception):
    """Something the user can act on.

    Args:
        what: the input at fault, in the user's words ("reference photo anna/3.jpg").
        value: the value it had ("1x1 pixels").
        remedy: what to do about it, as a sentence without its full stop.
    """

    def __init__(self, what: str, value: object, remedy: str) -> None:
        super().__init__(f"{what}: {value}; {remedy}.")
        self.what = what
        self.value = value
        self.remedy = remedy


class ArgumentError(IDFSRError, ValueError):
    """A parameter is out of its range or does not fit another one."""


class ImageError(IDFSRError, ValueError):
    """A picture cannot be read or used: truncated, too small, too large, not finite."""


class FaceNotFoundError(IDFSRError, LookupError):
    """No face where one is needed."""


class AmbiguousFaceError(IDFSRError, LookupError):
    """Several faces and nothing that says which one is meant."""


class DifferentPeopleError(IDFSRError, ValueError):
    """The reference photos do not show one person."""


class EncoderMismatchError(IDFSRError, ValueError):
    """An identity embedding was made by another encoder than the one that is to read it."""


class FileFormatError(IDFSRError, ValueError):
    """A bundle, embedding or checkpoint is damaged or of another format."""


class OutputError(IDFSRError, OSError):
    """A result cannot be written."""


class MissingPackageError(IDFSRError, ImportError):
    """An optional package or file that the chosen option needs is not there."""


class Cancelled(IDFSRError):
    """The user asked to stop; nothing was written."""
