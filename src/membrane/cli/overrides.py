"""What a command line says instead of its file, the same for all commands that train fleets."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from membrane.cli.parts import store_of
from membrane.core.errors import raise_all
from membrane.training.engines import ENGINES, Engine, engine_of


def add_overrides(parser: ArgumentParser) -> None:
    """Where models lie and where they are trained."""
    parser.add_argument(
        "--store",
        help="where finished models lie, instead of the file's: a folder or a URL such as s3://bucket/prefix, which "
        "runs and machines may share; in the run folder if neither names one",
    )
    parser.add_argument("--engine", choices=tuple(ENGINES), help="where models are trained, instead of the file's")
    parser.add_argument("--workers", type=int, help="models at a time, for an engine that trains several")
    add_device(parser)


def add_device(parser: ArgumentParser) -> None:
    """What models are trained on."""
    parser.add_argument(
        "--device",
        help='what recipes train on, instead of the file\'s: "auto" (a GPU if there is one), "cpu", "cuda", "cuda:1"',
    )


def store_said(args: Namespace, otherwise: str | None) -> str | None:
    """The store of the command line, or the file's.

    Raises:
        SettingError: If it is none.
    """
    wrong: list[str] = []
    store = otherwise if args.store is None else store_of(args.store, Path(), wrong)
    raise_all(wrong)
    return store


def engine_said(args: Namespace, otherwise: Engine) -> Engine:
    """The engine of the command line, or the file's, with the workers and the device that are asked for.

    Raises:
        SettingError: If it has no workers to set, or there is no such device.
    """
    return engine_of(otherwise if args.engine in (None, otherwise.name) else args.engine, args.workers, args.device)
