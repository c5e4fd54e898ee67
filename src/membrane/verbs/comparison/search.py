"""Strengths found by search: Optuna looks for those that are on the frontier of accuracy against leakage.

What a search sees is not what the comparison reports: its models are other ones, trained on other halves of another
draw, and accuracy is that on the pool's own non-members, so the test set has no part in the choice.

Source: Akiba et al. 2019, "Optuna: A Next-generation Hyperparameter Optimization Framework", arXiv:1907.10902; Ozaki et
al. 2022, "Multiobjective Tree-Structured Parzen Estimator", JAIR 73, 1209-1250, for the sampler.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from membrane.attacks import Attack
from membrane.core.errors import SettingError, TrainingError
from membrane.core.generators import derive_seed
from membrane.core.progress import Progress
from membrane.core.settings import check_ranges, fingerprint, to_plain
from membrane.core.store import Store
from membrane.data import Task
from membrane.data.membership import references_each
from membrane.training import Defense, train_fleet
from membrane.training.engines import Engine
from membrane.verbs.comparison.cells import Method, Setting, whole_numbers
from membrane.verbs.comparison.tuned import Tuned, pipeline_of
from membrane.verbs.measure import measure
from membrane.verbs.observe import readings_of, score_bank
from membrane.verbs.results import Train, made_with

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial


@dataclass(frozen=True)
class Search:
    """How strengths are searched.

    Args:
        trials: Strengths tried for each method and setting.
        models: Trained for each of them, even, 4 or more; a few are enough to tell strengths apart.
        keep: Strengths taken over into the comparison, at most.
        within: Accuracy below the best found, a fraction, at which a strength is not worth comparing.
        database: Where trials are kept, as SQLAlchemy writes it; a team names a server that all reach. A file
            ``search.db`` in the comparison's folder if not given.

    Raises:
        SettingError: Listing all that is out of range.
    """

    trials: int = 12
    models: int = 4
    keep: int = 3
    within: float = 0.1
    database: str | None = None

    def __post_init__(self) -> None:
        check_ranges(
            self,
            "search: ",
            trials=(self.trials >= 1, "1 or more"),
            models=(self.models >= 4 and self.models % 2 == 0, "an even number, 4 or more"),
            keep=(self.keep >= 1, "1 or more"),
            within=(0 < self.within <= 1, "above 0 and at most 1"),
        )


@dataclass(frozen=True)
class Found:
    """What a search has found for one method in one setting.

    Args:
        strengths: The defense at each strength that is worth comparing, the most accurate first.
        trials: Of every trial its values, accuracy and leakage, JSON-ready; null where it diverged.
    """

    strengths: tuple[Defense | Tuned, ...]
    trials: tuple[Mapping[str, Any], ...]


def optuna_or_refuse() -> None:
    """Refuse a search without Optuna.

    Raises:
        SettingError: Saying how to get it.
    """
    try:
        import optuna  # noqa: F401
    except ImportError as missing:
        raise SettingError(
            "strengths are searched with Optuna, which is not installed: pip install 'membrane[search]'. Or list them."
        ) from missing


def search_strengths(
    method: Method,
    setting: Setting,
    search: Search,
    attacks: Sequence[Attack],
    store: Store,
    out: Path,
    seed: int,
    engine: Engine,
    progress: Progress,
) -> Found:
    """The strengths of one method that are on its frontier, from trials that are kept and gone on with.

    The n-th trial draws from a stream of its own, so a search that was broken off and goes on ends where an unbroken
    one does, unless several processes share the database.

    Args:
        method: With ``searched`` and ``ranges``.
        setting: Where.
        search: How.
        attacks: Of the comparison; those that so few models can feed are used.
        store: Where trained models lie.
        out: Folder of the comparison.
        seed: Of the comparison; the search's own is derived from it.
        engine: That trains.
        progress: Told of trials.

    Raises:
        SettingError: If the database cannot be opened.
    """
    task = setting.sizes.draw(setting.data, derive_seed(seed, "search") % 2**31, search.models)
    n_each = references_each(search.models)
    fed = [one for one in attacks if not one.missing(n_each, n_each, len(task.test))]
    study = _study(method, setting, search, task, fed, out)
    while (done := len(_settled(study))) < search.trials:
        trial = _ask(study, derive_seed(seed, "search", done))
        values = _suggest(trial, method)
        progress(f"search, trial {done + 1} of {search.trials}", done, search.trials)
        try:
            found = _try(pipeline_of(setting.recipe, method.at(values)), task, fed, store, seed, engine, method.label)
        except TrainingError:
            study.tell(trial, state=_states().FAIL)
            continue
        study.tell(trial, list(found))
    return _kept(study, method, search)


def _study(method: Method, setting: Setting, search: Search, task: Task, attacks: Sequence[Attack], out: Path) -> Study:
    """The study of everything that decides what trials say; started or gone on with."""
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    name = fingerprint(
        {
            "searched": to_plain(method.searched),
            "ranges": to_plain(dict(method.ranges)),
            "recipe": to_plain(setting.recipe),
            "task": task.checksum(),
            "models": search.models,
            "attacks": [to_plain(one) for one in attacks],
            "versions": made_with(),
        }
    )
    out.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    where = search.database or f"sqlite:///{(out / 'search.db').absolute()}"
    try:
        return optuna.create_study(
            storage=where, study_name=name, directions=["maximize", "minimize"], load_if_exists=True
        )
    except (SQLAlchemyError, ImportError, ValueError) as problem:
        first = str(problem).strip().split("\n")[0]
        raise SettingError(
            f"search: the database {where} cannot be used ({first}). Give a URL such as "
            "sqlite:////absolute/path/search.db or postgresql://user@host/name, with its driver installed."
        ) from problem


def _states() -> Any:  # noqa: ANN401 -- Optuna ships no types that are read here
    from optuna.trial import TrialState

    return TrialState


def _settled(study: Study) -> list[FrozenTrial]:
    """Trials that came to an end, by number; those of a killed process did not."""
    return [one for one in study.get_trials(deepcopy=False) if one.state in (_states().COMPLETE, _states().FAIL)]


def _ask(study: Study, seed: int) -> Trial:
    from optuna.samplers import TPESampler

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that parts of it are experimental
        study.sampler = TPESampler(n_startup_trials=5, seed=seed % 2**31)
    return study.ask()


def _suggest(trial: Trial, method: Method) -> dict[str, float]:
    assert method.searched is not None  # or there would be no ranges
    whole = whole_numbers(method.searched)
    return {
        name: trial.suggest_int(name, int(one.low), int(one.high), log=one.log)
        if name in whole
        else trial.suggest_float(name, one.low, one.high, log=one.log)
        for name, one in method.ranges.items()
    }


def _try(
    train: Train, task: Task, attacks: Sequence[Attack], store: Store, seed: int, engine: Engine, label: str
) -> tuple[float, float]:
    """Accuracy on the pool's non-members, canaries aside, and the area of the strongest attack on the population."""
    bank = train_fleet(
        train, task, store, derive_seed(seed, "search"), label=label, readings=readings_of(attacks), engine=engine
    )
    scores = score_bank(bank, task.membership, task.pool.y.numpy(), list(attacks))
    measured = measure(bank, scores, task, seed)
    ordinary = measured.slice("population").mask
    accuracy = float(bank.pool.correct[..., 0][:, ordinary][~task.membership[:, ordinary]].mean())
    return accuracy, measured.auc(measured.strongest("population"), "population")


def _kept(study: Study, method: Method, search: Search) -> Found:
    """Trials that no other beats in both, near enough to the best accuracy, and evenly spread along it."""
    settled = _settled(study)
    trials = tuple(
        {
            "values": one.params,
            "accuracy": one.values[0] if one.values else None,
            "leakage": one.values[1] if one.values else None,
        }
        for one in settled
    )
    unbeaten = {tuple(sorted(one.params.items())): one for one in study.best_trials}.values()
    best = sorted(unbeaten, key=lambda one: -one.values[0])
    near = [one for one in best if one.values[0] >= best[0].values[0] - search.within]
    picked = sorted({round(i) for i in np.linspace(0, len(near) - 1, min(search.keep, len(near)))}) if near else []
    return Found(tuple(method.at(near[i].params) for i in picked), trials)
