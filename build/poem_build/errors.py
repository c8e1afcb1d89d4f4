"""What the build stage refuses, each in one line that names the file, the field and the remedy.

BuildError
├── RecipeError     a recipe cannot be read, or one of its values is no good
├── DatasetError    a line of a data set breaks its form or the rules of the game
├── ArtifactError   what an earlier stage left is missing, unfinished or damaged
├── ModelFileError  a model, adapter or GGUF file is not what it should be
├── DeviceError    the device asked for cannot be used, or has not enough memory
├── PlanError       a machine has not the memory or the disk that the work takes
├── GateError       a stage ran, and what it made is not good enough to go on
├── UnfinishedError a model's answer did not end within the tokens it has
├── OllamaError     Ollama is not there, refused, or gave back something else
├── TeacherError    a teacher, its journal, its prices or its answers are not what is needed
├── WriterError     whoever is to write poems for a report is unknown, or does not answer
├── HarnessError   lm-eval is not installed, or could not do what it was asked
├── ReadingError    a poem cannot be given to readers, or what they send is no choice
├── PublishError    a model or a data set may not go out, or whoever is to take it does not
├── StackError      Docker, an image or the stack is not what a command needs
└── DemoError       the service that the demo starts does not come up or does not answer
"""

from poem.environment import without_passwords


class BuildError(Exception):
    """Base of every error that a stage raises on purpose; the command prints it without a traceback."""


class RecipeError(BuildError):
    """A recipe cannot be read, or one of its values is no good."""


class DatasetError(BuildError):
    """A line of a data set breaks its form or the rules of the game."""


class ArtifactError(BuildError):
    """What an earlier stage left is missing, unfinished or damaged."""

    def __init__(self, told: str, remedy: str = "") -> None:
        super().__init__("; ".join(filter(None, (told, remedy))))
        self.told = told


class ModelFileError(BuildError):
    """A model, adapter or GGUF file is not what it should be."""


class PlanError(BuildError):
    """A machine has not the memory or the disk that the work takes."""


class DeviceError(BuildError):
    """The device asked for cannot be used, or has not enough memory."""


class GateError(BuildError):
    """A stage ran, and what it made is not good enough to go on."""

    def __init__(self, message: str, red_line: str = "") -> None:
        super().__init__(message)
        self.red_line = red_line
        """What was seen and asked for, where a figure or a fall is refused."""


class UnfinishedError(BuildError):
    """A model's answer did not end within the tokens it has."""


class OllamaError(BuildError):
    """Ollama is not there, refused, or gave back something else than it was given."""

    def __init__(self, told: str) -> None:
        super().__init__(without_passwords(told))  # its address may hold one


class TeacherError(BuildError):
    """A teacher refuses, costs more than is allowed, or its journal, prices or answers are not what is needed."""


class WriterError(BuildError):
    """Whoever is to write poems for a report is unknown, or does not answer."""


class HarnessError(BuildError):
    """lm-eval is not installed, or could not do what it was asked."""


class ReadingError(BuildError):
    """A poem cannot be given to readers, or what they send is no choice."""


class PublishError(BuildError):
    """A model or a data set may not go out, or whoever is to take it does not."""


class StackError(BuildError):
    """Docker, an image or the stack is not what a command needs."""


class DemoError(BuildError):
    """The service that the demo starts does not come up or does not answer."""
