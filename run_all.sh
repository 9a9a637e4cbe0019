#!/usr/bin/env bash
# Sets up .venv, then executes the notebooks, runs every check, verifies records or builds the site. `./run_all.sh --help` explains it.
# Needs Python 3.11 to 3.14 and git; works with macOS's bash 3.2.
if [ -z "${BASH_VERSION:-}" ]; then
    exec bash "$0" "$@" # called as `sh run_all.sh`
fi
set -euo pipefail
for name in DISTILLATION_DATA DISTILLATION_RESULTS; do # notebooks run in another folder
    case "${!name:-/}" in
    /*) ;;
    *) export "$name=$PWD/${!name}" ;;
    esac
done
script=${BASH_SOURCE[0]}
while [ -L "$script" ]; do # the repository is where the script is, not where a link to it is
    target=$(readlink "$script")
    case "$target" in
    /*) script=$target ;;
    *) script=$(dirname "$script")/$target ;;
    esac
done
cd "$(dirname "$script")"

# What a person has set for other programs has no part in this: paths, start-up files, backends, and where pip installs.
unset PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONOPTIMIZE MPLBACKEND MATPLOTLIBRC JUPYTER_PATH JUPYTER_CONFIG_PATH
unset PIP_TARGET PIP_PREFIX PIP_ROOT PIP_NO_DEPS PIP_DRY_RUN PIP_REQUIRE_VIRTUALENV UV_TARGET UV_PREFIX UV_SYSTEM_PYTHON
export PIP_USER=0 PYTHONNOUSERSITE=1 PYTHONUTF8=1
export JUPYTER_PREFER_ENV_PATH=1       # the kernel of .venv, not one that the user has registered
export PYDEVD_DISABLE_FILE_VALIDATION=1 # no debugger warnings from the kernels

is_supported() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null
}

find_python() {
    local candidate
    for candidate in python3 python3.14 python3.13 python3.12 python3.11 python; do
        if is_supported "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    echo "run_all.sh needs Python 3.11 to 3.14 and found none on PATH: install one from https://www.python.org or with" \
        "your system's package manager." >&2
    return 1
}

set_up() {
    local python wanted stamp=.venv/installed.sha256
    if ! is_supported .venv/bin/python; then
        python=$(find_python)
        echo "Creating .venv with $("$python" --version)."
        "$python" -m venv --clear .venv || {
            echo "$python cannot make a virtual environment (on Debian or Ubuntu: apt install python3-venv)." >&2
            return 1
        }
    fi
    # Of what is installed, and of the place that the package is used from: a moved checkout is installed again.
    wanted=$(.venv/bin/python -c 'import hashlib, pathlib
files = b"".join(pathlib.Path(name).read_bytes() for name in ("requirements.txt", "pyproject.toml"))
print(hashlib.sha256(files + str(pathlib.Path.cwd()).encode()).hexdigest())')
    if [ "$(cat "$stamp" 2>/dev/null || true)" = "$wanted" ]; then
        return
    fi
    echo "Installing the pinned requirements into .venv (once; PyTorch is about 1 GB on Linux)."
    rm -f "$stamp"
    .venv/bin/python -m pip --version >/dev/null 2>&1 || .venv/bin/python -m ensurepip >/dev/null
    if ! { .venv/bin/python -m pip install --quiet --disable-pip-version-check uv &&
        .venv/bin/python -m uv pip install --quiet --compile-bytecode --python .venv/bin/python -r requirements.txt; }; then
        echo "uv did not manage; trying pip."
        .venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt || {
            echo "The requirements could not be installed: check the network and run the same command again." >&2
            return 1
        }
    fi
    # The package itself, from here: edits count at once, and Jupyter and every snippet find it.
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
    .venv/bin/python -c 'import distillation.commands.run' || {
        echo "The packages are installed but cannot be imported (above): delete .venv and run the same command again." >&2
        return 1
    }
    echo "$wanted" >"$stamp" # written last, so that an interrupted installation is done again
}

# Settings and caches of Jupyter, IPython and matplotlib: their own, not a person's; elsewhere if .venv cannot be written.
set_apart() {
    local folder="$PWD/.venv/settings"
    mkdir -p "$folder" 2>/dev/null && [ -w "$folder" ] || folder=$(mktemp -d)
    export IPYTHONDIR="$folder/ipython" JUPYTER_CONFIG_DIR="$folder/jupyter" MPLCONFIGDIR="$folder/matplotlib"
    if ! { mkdir -p "$HOME/.cache" && [ -w "$HOME/.cache" ]; } 2>/dev/null; then
        export XDG_CACHE_HOME="$folder/cache" JUPYTER_RUNTIME_DIR="$folder/runtime" NUMBA_CACHE_DIR="$folder/numba"
    fi
}

run_checks() {
    local status=0 at_once=(--numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder)
    unset DISTILLATION_RESULTS # committed notebooks are checked against committed records
    ruff check . || status=1
    ruff format --check . || status=1
    if [ "$status" != 0 ]; then
        echo "ruff found something (above): this run fails, whatever pytest says." >&2
    fi
    if ls notebooks/*.ipynb >/dev/null 2>&1; then
        python -m pytest tests notebooks "${at_once[@]}" --nbval --nbval-cell-timeout=600 --nbval-kernel-startup-timeout=600 ||
            status=1
    else
        python -m pytest tests "${at_once[@]}" || status=1
    fi
    return "$status"
}

for argument in "$@"; do
    case "$argument" in
    -h | --help)
        if [ "$1" = verify ]; then
            break # its own help needs the package
        fi
        exec cat src/distillation/commands/help.txt
        ;;
    esac
done
set_up
set_apart
export PATH="$PWD/.venv/bin:$PATH" VIRTUAL_ENV="$PWD/.venv"
case "${1:-}" in
test | site)
    if [ $# -gt 1 ]; then
        echo "./run_all.sh $1 takes no further arguments." >&2
        exit 2
    fi
    ;;
esac
case "${1:-}" in
test) run_checks ;;
site) exec python -m distillation.commands.site ;;
verify)
    shift
    exec python -m distillation.commands.verify "$@"
    ;;
*) exec python -m distillation.commands.run "$@" ;;
esac
