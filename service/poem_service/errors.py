"""What the service can refuse, and why a poem was not the model's.

ServiceError
├── SettingsError     an environment variable's value is no good; stops the start
├── RequestError      a request is not what the API takes; carries the status and what the player reads
├── ChatError         a chat has no answer; carries the status and what OpenAI's clients read
└── EngineError       the engine gave no usable answer; carries the `Reason`
    ├── UnavailableError  it could not be asked
    │   └── RefusedError      it said no; carries the status
    └── AnswerError       it was asked, and what came back is not an answer
        └── CutError          the beginning of one, up to the limit of its tokens
"""

from enum import StrEnum


class Reason(StrEnum):
    """Why an answer is not the model's: the value of `X-Poem-Reason` and a label of the metrics."""

    STARTING = "starting"
    NO_ENGINE = "no-engine"
    UNREACHABLE = "unreachable"
    MODEL_MISSING = "model-missing"
    LOADING = "loading"
    TRIAL = "trial"
    EVICTED = "evicted"
    TOO_SLOW = "too-slow"
    BREAKER_OPEN = "breaker-open"
    QUALITY = "quality"
    BELOW_COMPOSER = "below-composer"
    PREPARED = "prepared"
    STOPPING = "stopping"
    BUSY = "busy"
    RATE_LIMITED = "rate-limited"
    UPSTREAM_ERROR = "upstream-error"
    TIMEOUT = "timeout"
    LOST = "lost"
    INCOMPLETE = "incomplete"
    MALFORMED = "malformed"
    RULES = "rules"


class ServiceError(Exception):
    """Base of every error of this package."""


class SettingsError(ServiceError):
    """An environment variable has a value that is not allowed."""


class RequestError(ServiceError):
    """A request the API does not take; the message is Japanese and shown to the player."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class ChatError(ServiceError):
    """No answer to a chat; the message is English, for whoever wrote the client, the code for the client itself."""

    def __init__(self, status: int, message: str, code: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code


class EngineError(ServiceError):
    """No usable answer; `reason` says which kind, the message what was seen."""

    def __init__(self, reason: Reason, seen: str) -> None:
        super().__init__(f"{reason}: {seen}")
        self.reason = reason
        self.seen = seen


class UnavailableError(EngineError):
    """The engine could not be asked: not there, without the model, refusing, or silent."""


class RefusedError(UnavailableError):
    """The engine's server answered with a status that is not 200."""

    def __init__(self, reason: Reason, status: int, text: str) -> None:
        super().__init__(reason, f"status {status}: {text[:200]}")
        self.status = status


class AnswerError(EngineError):
    """The engine was asked and what came back is cut, malformed or against the rules."""


class CutError(AnswerError):
    """The answer stopped at the limit of its tokens; all that was written has been given."""

    def __init__(self, seen: str) -> None:
        super().__init__(Reason.INCOMPLETE, seen)
