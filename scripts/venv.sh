#!/bin/sh
# Make a virtual environment from a lock file, and say what will be downloaded before doing so.
# usage: sh scripts/venv.sh FOLDER LOCK
# PYTHON=/path/to/python chooses the interpreter. pip obeys its own variables (PIP_EXTRA_INDEX_URL, PIP_NO_CACHE_DIR ...).
set -eu
venv=$1
lock=$2

# What is wrong with this interpreter? Nothing printed means nothing is.
# It is run rather than looked up: a version manager's stand-in can be on the PATH and still answer "not found".
fault() {
    "$1" -c '
import sys
if sys.version_info < (3, 11):
    sys.exit("is Python %d.%d; membrane needs 3.11 or newer" % sys.version_info[:2])
try:
    import ensurepip, venv
except ImportError as problem:
    sys.exit("has no venv (%s); on Debian and Ubuntu: apt install python3-venv" % problem)
' 2>&1 >/dev/null | head -n 1
}

# 3.11 first: the locks were resolved with it.
python=
tried=
for candidate in ${PYTHON:-python3.11 python3.12 python3.13 python3.14 python3 python}; do
    command -v "$candidate" >/dev/null 2>&1 || continue
    problem=$(fault "$candidate")
    if [ -z "$problem" ]; then
        python=$candidate
        break
    fi
    tried="$tried
  $candidate: $problem"
done
if [ -z "$python" ]; then
    echo "No usable Python 3.11 or newer was found${PYTHON:+ (PYTHON is $PYTHON)}.${tried:+ Tried:$tried}" >&2
    echo "Install one, or name it: make PYTHON=/path/to/python3.11 ..." >&2
    exit 1
fi

echo "Environment: $venv, made with $("$python" -c 'import sys; print(sys.executable, sys.version.split()[0])')"
echo "About to download into it, less what pip has in its cache: $(sed -n 's/^# size: //p' "$lock")."
sed -n '/^[A-Za-z]/p' "$lock" | paste -s -d ' ' - | fold -s -w 116 | sed 's/^/    /'

# Somebody who watches wants to see progress; a log does not.
quiet=--quiet
[ -t 1 ] && quiet=

# A half-made environment, or one whose interpreter has gone, is made again.
"$venv/bin/python" -c 'import pip' >/dev/null 2>&1 || "$python" -m venv --clear "$venv"
"$venv/bin/python" -m pip install $quiet --disable-pip-version-check --requirement "$lock"
# The build tools are in the lock, so nothing is downloaded behind the reader's back here.
"$venv/bin/python" -m pip install $quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
echo "Environment $venv is ready."
