"""The one root of every error that qgate raises on purpose.

An error says what happened, where, and what the user does next. Command line and report print the
three parts; a traceback is only ever a defect of qgate itself.
"""

from __future__ import annotations


class QgateError(Exception):
    """Something a user can act on.

    Args:
        what: What happened, one sentence without a final full stop.
        where: The file, policy key, tensor or address that it happened at; empty if there is none.
        remedy: What the user does next, one sentence.
    """

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.remedy = remedy

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        return f"{head}. {self.remedy}" if self.remedy else head


class UsageError(QgateError):
    """The command line, the action's inputs or the environment are wrong."""


class PolicyError(QgateError):
    """The policy file cannot be used as it stands."""


class SourceError(QgateError):
    """A model, data set or baseline cannot be obtained."""


class MissingError(SourceError):
    """There is nothing at the place that was named."""


class FolderError(SourceError):
    """A folder is named where a file is wanted."""


class FormatError(QgateError):
    """A file is not what it claims to be, or is not safe to read.

    Args:
        what: As for QgateError.
        where: As for QgateError.
        remedy: As for QgateError.
        rule: The ART rule that the refusal belongs to.
        tensor: The tensor, node or input at fault, in the file's own name, if there is one.
    """

    def __init__(
        self, what: str, *, where: str = "", remedy: str = "", rule: str = "ART104", tensor: str | None = None
    ) -> None:
        super().__init__(what, where=where, remedy=remedy)
        self.rule = rule
        self.tensor = tensor


class DataError(QgateError):
    """The data set does not fit the model (names, shapes, dtypes, labels, NaN)."""


class MeasureError(QgateError):
    """A measurement could not be made (the child crashed, ran out of time or memory)."""


class SandboxError(MeasureError):
    """A model was not run because the process for it could not be confined as the policy asks."""


class BaselineError(QgateError):
    """A stored baseline is corrupt or cannot be written."""


class PublishError(QgateError):
    """GitHub would not take the comment, the status or the summary."""
