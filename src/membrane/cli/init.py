"""``membrane init``: a run file to start from, commented, that works as it stands."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from membrane.cli.command import Command
from membrane.core.errors import SettingError
from membrane.core.store import write_bytes

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
# threads; several models at a time on one thread each use a machine better than one on all of them.
# engine = { name = "processes", threads = 1 }
"""


def _add(parser: ArgumentParser) -> None:
    parser.add_argument("file", nargs="?", default="run.toml", help="where to write it (default: run.toml)")
    parser.add_argument("--force", action="store_true", help="overwrite a file that is there")


def _run(args: Namespace) -> int:
    path = Path(args.file)
    if path.is_dir():
        raise SettingError(f"{path} is a folder; name a file, such as {path / 'run.toml'}.")
    if path.exists() and not args.force:
        raise SettingError(f"{path} is there already; nothing was written. Name another file, or pass --force.")
    write_bytes(path, TEMPLATE.encode())
    print(f"Wrote {path}. Next: membrane check {path}")
    return 0


COMMAND = Command("init", "write a run file to start from", "membrane init run.toml", _add, _run)
