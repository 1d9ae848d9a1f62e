"""The exceptions of this program, and how the message of any exception is formatted.

    JouleGridError            everything below; the message names the place, the value and what to do
    └── MeasureError          a cell could not be measured
        ├── ModelLoadError    the model could not be found, built or quantised
        ├── UnsupportedError  this hardware or library does not support what the cell requests
        ├── EstimateError     the model's cost could not be estimated
        ├── PromptError       there are no prompts of the requested shape
        └── GenerationError   `generate` returned a different number of tokens than the cell requests

The driver's own exceptions derive from `JouleGridError`, too. Other exceptions of torch or transformers pass through
unchanged; `workers.failures` recognises those that mean out of memory or a lost card.
"""

from workers.records import text


class JouleGridError(Exception):
    """The root of this program's exceptions."""


class MeasureError(JouleGridError, RuntimeError):
    """A cell could not be measured."""


class ModelLoadError(MeasureError):
    """The model could not be found, built or quantised."""


class UnsupportedError(MeasureError):
    """This hardware or library does not support what the cell requests."""


class EstimateError(MeasureError):
    """The model's cost could not be estimated; measuring it may still succeed."""


class PromptError(MeasureError):
    """There are no prompts of the requested shape."""


class GenerationError(MeasureError):
    """`generate` returned a different number of tokens than the cell requests."""


_MODEL_LIST = " Model type should be one of"
"""How transformers begins its list of the hundreds of supported models."""


def one_line(error: BaseException) -> str:
    """An exception in one line: its class and message, without the list of models that ends transformers' errors."""
    beginning, listed, _ = text.one_line(message(error)).partition(_MODEL_LIST)
    hint = " Only causal language models are measured." if listed else ""
    return f"{type(error).__name__}: {text.shortened(beginning, 500)}{hint}"


def message(error: BaseException) -> str:
    """The message of an exception; its class if the message is empty or `str()` fails."""
    try:
        return str(error) or type(error).__name__
    except Exception:
        return type(error).__name__
