"""The user's own training function, found by ``"module:name"`` beside the run file."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any, cast

from membrane.core.errors import SettingError
from membrane.core.settings import did_you_mean
from membrane.training.fleet import TrainFunction
from membrane.training.origins import importable

_SHAPE = "train(members, holdout, generator) -> model"


def load_function(text: Any, folder: Path) -> TrainFunction:  # noqa: ANN401 -- whatever a file holds
    """The function that ``text`` names.

    Args:
        text: ``"module:name"``.
        folder: On the import path while the module is imported; what the function needs it must import at its top.

    Raises:
        SettingError: If there is no such function, or it cannot take the three arguments.
    """
    module_name, _, name = text.partition(":") if isinstance(text, str) else ("", "", "")
    if not name.isidentifier() or not all(part.isidentifier() for part in module_name.split(".")):
        raise SettingError(f'{text!r} names no function; write "my_module:train" for train in my_module.py.')
    module = _imported(module_name, folder)
    if not hasattr(module, name):
        near = did_you_mean(name, [one for one in vars(module) if not one.startswith("_")])
        raise SettingError(f"{module_name} has no {name!r}. {near}It must hold {_SHAPE}.")
    function = getattr(module, name)
    if not callable(function):
        raise SettingError(f"{text} is a {type(function).__name__}; it must be {_SHAPE}.")
    try:
        inspect.signature(function).bind(None, None, None)
    except (TypeError, ValueError) as problem:
        raise SettingError(f"{text} does not take three arguments ({problem}); it must be {_SHAPE}.") from problem
    return cast(TrainFunction, function)


def _imported(name: str, folder: Path) -> object:
    with importable(str(folder.absolute())):
        try:
            return importlib.import_module(name)
        except KeyboardInterrupt:
            raise
        except BaseException as problem:  # the module is the user's: it may raise anything, SystemExit included
            raise SettingError(
                f"importing {name!r} (from {folder.absolute()}) failed: {type(problem).__name__}: {problem}."
            ) from problem
