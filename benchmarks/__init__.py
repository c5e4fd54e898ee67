"""Scripts that measure, each run by its path. A package of its own, since some libraries install one of that name."""
