#!/usr/bin/env bash
# On a machine with a GPU: the tests that train, the benchmark, then the runs of a profile, the most telling first.
#
#     PYTHON=python3 benchmarks/on_a_gpu.sh OUT_FOLDER
#
# With the Python it is given (PyTorch with CUDA, and of the rest what training needs), no network and no Jupyter.  It
# ends within MINUTES (10), stops the runs cleanly before that, and leaves in OUT_FOLDER: tests.txt, benchmark.txt,
# runs.txt, and records.tar.xz with the records and the headline models, to be unpacked in the repository.  What was
# there before is not run again, so a second call goes on.
#
#     STEPS      which of "tests benchmark runs" (all)         PROFILE    whose runs (next)
#     NOTEBOOKS  whose runs, in this order ("02 01")           MINUTES    in all (10)
set -uo pipefail
if [ $# -ne 1 ]; then
    sed -n '2,13s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
mkdir -p "$1" && out=$(cd "$1" && pwd) || exit 1
cd "$(dirname "$0")/.."
python=${PYTHON:-python3} steps=${STEPS:-tests benchmark runs} profile=${PROFILE:-next} notebooks=${NOTEBOOKS:-02 01}
ends=$((SECONDS + ${MINUTES:-10} * 60 - 25)) # packing takes the rest
export PYTHONPATH=$PWD/src PYTHONUNBUFFERED=1 PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 DISTILLATION_OFFLINE=1 DISTILLATION_DEVICE=${DISTILLATION_DEVICE:-cuda}
status=0

within() { # SECONDS COMMAND ...: stopped as by Ctrl-C at this limit, or where all must end
    local limit=$(($1 < ends - SECONDS ? $1 : ends - SECONDS))
    shift
    [ "$limit" -gt 0 ] && timeout --signal INT --kill-after 15 "$limit" "$@"
}

# Several processes share the GPU at the same time, not in turn, where its multi-process service is to be had.
export CUDA_MPS_PIPE_DIRECTORY=$out/.mps CUDA_MPS_LOG_DIRECTORY=$out/.mps
shared=no
if command -v nvidia-cuda-mps-control >/dev/null && mkdir -p "$out/.mps" && nvidia-cuda-mps-control -d 2>/dev/null; then
    trap 'echo quit | nvidia-cuda-mps-control >/dev/null 2>&1; rm -rf "$out/.mps"' EXIT
    "$python" -c 'import torch; torch.zeros(1, device="cuda")' 2>/dev/null && shared=yes
fi
if [ "$shared" = no ]; then
    unset CUDA_MPS_PIPE_DIRECTORY CUDA_MPS_LOG_DIRECTORY
fi
echo "Several processes at the same time on one GPU: $shared."

for step in $steps; do
    case "$step" in
    tests)
        within 170 "$python" -m pytest -q -p no:cacheprovider tests/core/test_training.py tests/core/test_models.py \
            tests/core/test_gradients.py tests/mnist/test_nets.py tests/mnist/test_measurements.py \
            tests/specialists/test_convnets.py tests/specialists/test_generalists.py tests/specialists/test_nets.py \
            2>&1 | tee "$out/tests.txt" || status=1
        ;;
    benchmark)
        within 120 "$python" benchmarks/training_step.py --rounds 1 --cases 60000 2>&1 | tee "$out/benchmark.txt" || status=1
        ;;
    runs)
        DISTILLATION_JOBS=${DISTILLATION_JOBS:-$([ "$shared" = yes ] && echo 8 || echo 2)} \
            within 86400 "$python" -m distillation.commands.train "$profile" $notebooks 2>&1 | tee "$out/runs.txt"
        ;;
    *)
        echo "STEPS names $step: choose from tests, benchmark, runs." >&2
        exit 2
        ;;
    esac
done
results=${DISTILLATION_RESULTS:-results}/$profile
if [ -d "$results/records" ]; then
    "$python" -m distillation.commands.models "$profile" $notebooks || status=1
    (cd "${DISTILLATION_RESULTS:-results}" && find "$profile" -name '*.json' -o -path '*/models/*.safetensors' |
        tar --create --xz --file "$out/records.tar.xz" --files-from -) || status=1
    echo "$(find "$results/records" -name '*.json' | wc -l) records of $profile are in $out/records.tar.xz."
fi
exit "$status"
