"""``membrane init``: a run file or a comparison to start from, commented, that works as it stands."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from membrane.cli.command import Command
from membrane.core.errors import SettingError
from membrane.core.files import write_bytes

TEMPLATE = """\
# A run: one data set, one way to train, the defenses to compare. It works as it stands (minutes on two cores).
#   membrane check run.toml                  what is wrong, what it resolves, what it costs
#   membrane protect run.toml --out runs/a   train a model on the whole pool, release it protected
#   membrane audit run.toml --out runs/a     train reference models, attack them, write the report

title = "Handwritten digits"
seed = 0

# `membrane list data` shows what there is; paths count from this file's folder.
# data = { name = "parquet", path = "cifar10.parquet" }
# data = { name = "long_tail", ratio = 10, of = { name = "image_folder", path = "pets", size = 32 } }
data = { name = "digits", test = 297 }

# `membrane list models`. Or leave out model, recipe and defenses and name your own function
# train(members, holdout, generator) -> model, in my_module.py beside this file:
# train = "my_module:train"
model = { name = "mlp", widths = [256, 128] }
recipe = { epochs = 40, lr = 0.1, batch_size = 50, augment = false }
# `membrane list recipes`: one with a name has its own model and settings, and those beside the name go before them.
# recipe = { name = "lab_cifar10", epochs = 50 }

# `membrane list defenses`. The first is the baseline; `protect` releases the last. `label` names one in the report.
defenses = [
  { name = "undefended" },
  { name = "short_schedule", epochs = 8 },
  { name = "pptp", label = "PPTP", max_accuracy_drop = 0.01 },
]

# `membrane list attacks`. Left out: every attack that the number of reference models can feed.
# attacks = ["loss", { name = "lira", variance = "pooled" }]

# references: models trained for each defense, even. canaries: examples that are easy to betray, the worst case;
# canary_kind = "mislabelled", "near_duplicate" or "out_of_distribution".
# holdout: set aside for defenses that must choose (500 or more). pool: what models train on and are audited with.
# queries = "mirror" or "shifts" asks for each image in 2 or 18 ways; use what training augments by, if anything.
audit = { references = 16, canaries = 50, holdout = 500, pool = 1000 }

# `membrane list engines`: where the reference models are trained. The results are the same, bit for bit, for as many
# threads; several models at a time on one thread each use a machine better than one on all of them. A GPU is used if
# torch sees one: device = "cpu" does without.
# engine = { name = "processes", threads = 1 }

# Where finished models lie, if not in the run folder: a folder or a URL, which runs and machines may share.
# store = "s3://bucket/prefix"
"""


COMPARISON = """\
# A comparison: defenses at their strengths, in several settings. It works as it stands (minutes on two cores).
#   membrane check compare.toml                      what is wrong, how many models it takes, how long
#   membrane compare compare.toml --out runs/compare one audit for each cell, a leaderboard of all
#   membrane report runs/compare                     the page of what is finished so far, from another terminal

title = "Handwritten digits"
# Everything is repeated under so many seeds: other splits, canaries and models.
seed = 0
seeds = 1

# `membrane list defenses`. The first is the baseline. A list is one cell for each value; lines of one label are one
# curve. A range is searched with Optuna, on other models than those reported:
#   { name = "relaxloss", alpha = { low = 0.1, high = 2.0, log = true } }
# What suits one method alone, for which everything is listed or searched likewise:
#   { name = "selena", models = 10, left_out = 2, recipe = { lr = [0.05, 0.1], weight_decay = 0.0 } }
# Your own pipeline: { train = "my_module:train", label = "mine" }.
methods = [
  { name = "undefended" },
  { name = "short_schedule", label = "short schedule", epochs = [5, 8, 12] },
  { name = "early_stopping", label = "early stopping", epoch = [4, 6, 10] },
  { name = "weight_averaging", label = "whole-network window", first = 4, last = [6, 10] },
  { name = "relaxloss", label = "RelaxLoss", alpha = [0.2, 0.5, 1.0] },
  { name = "pptp", label = "PPTP", max_accuracy_drop = [0.0, 0.02] },
]
# search = { trials = 12, models = 4, keep = 3 }   # database = "postgresql://user@host/name" for a team

# Few and strong: every cell is attacked by all of them. Left out: every attack that so many models can feed.
attacks = ["loss", "reference", "lira", "midpoint", "rmia"]

# engine = { name = "processes", threads = 1 }

# One table for each data set and network; data, model, recipe and audit are as in a run file.
[settings.mlp]
data = { name = "digits", test = 297 }
model = { name = "mlp", widths = [128, 64] }
recipe = { epochs = 30, keep = 30, lr = 0.1, batch_size = 50 }
audit = { references = 8, canaries = 50, holdout = 500, pool = 1000 }

[settings.resnet]
data = { name = "digits", test = 297 }
model = { name = "resnet", widths = [8, 16, 32], blocks = [1, 1, 1] }
recipe = { epochs = 16, keep = 16, lr = 0.03, batch_size = 50 }
audit = { references = 8, canaries = 50, holdout = 500, pool = 1000 }
"""


def _add(parser: ArgumentParser) -> None:
    parser.add_argument("file", nargs="?", help="where to write it (default: run.toml; compare.toml of a comparison)")
    parser.add_argument("--comparison", action="store_true", help="a comparison of defenses instead of a run")
    parser.add_argument("--force", action="store_true", help="overwrite a file that is there")


def _run(args: Namespace) -> int:
    path = Path(args.file or ("compare.toml" if args.comparison else "run.toml"))
    if path.is_dir():
        raise SettingError(f"{path} is a folder; name a file, such as {path / 'run.toml'}.")
    if path.exists() and not args.force:
        raise SettingError(f"{path} is there already; nothing was written. Name another file, or pass --force.")
    write_bytes(path, (COMPARISON if args.comparison else TEMPLATE).encode())
    print(f"Wrote {path}. Next: membrane check {path}")
    return 0


COMMAND = Command("init", "write a run file, or a comparison, to start from", "membrane init run.toml", _add, _run)
