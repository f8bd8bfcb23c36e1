#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
#
# Everything to be known about the CUDA kernels on this machine, in less than 8 minutes: builds with CUDA for one architecture,
# runs the tests that need a GPU and those of the machine code, compute-sanitizer on a small set, ncu on the kernels of the fast
# network where it is and may, and the benchmarks; prints one table and writes gpu_check.json and the logs to the folder. The
# environment needs what `pip install .[test]` and building without isolation need. Exit status: 0 all passed, 1 something
# failed, 2 there is no GPU (all else passed).
#
#   bench/gpu_check.sh RESULTS      ARCH=80 PYTHON=python3.12 BUILD=build/gpu_check bench/gpu_check.sh RESULTS
#
# BUILD is a folder for the build that is kept, so that the next run compiles only what changed.
set -uo pipefail

[[ $# == 1 ]] || { echo "usage: $0 FOLDER" >&2; exit 64; }
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-python3}
mkdir -p "$1" && out=$(cd "$1" && pwd) || exit 64
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
steps=$work/steps
: >"$steps"
failed=0

command -v nvcc >/dev/null || PATH=$PATH:${CUDA_HOME:-/usr/local/cuda}/bin
gpu=$(nvidia-smi --query-gpu=name,compute_cap --format=csv,noheader 2>/dev/null | head -n 1) || gpu=""
if [[ -z ${ARCH:-} ]]; then
  cap=$(sed 's/.*, *//; s/\.//' <<<"$gpu")
  ARCH=${cap:-90}
  if [[ $ARCH == 90 ]]; then ARCH=90a; fi
fi
if [[ -n $gpu ]]; then echo "GPU: $gpu"; else echo "NO GPU on this machine: building and testing without one, nothing will be timed."; fi

# step NAME SECONDS COMMAND...: one line of the table; the output goes to a log in the folder.
step() {
  local name=$1 limit=$2 start=$SECONDS status=passed
  shift 2
  timeout "$limit" "$@" >"$out/$name.log" 2>&1 || { status="failed ($?)"; failed=1; tail -n 15 "$out/$name.log"; }
  if [[ $status == passed ]] && grep -q "^[0-9]* skipped" "$out/$name.log"; then status=skipped; fi
  printf '%s\t%s\t%s\t%s\n' "$name" "$status" $((SECONDS - start)) "$(tail -n 1 "$out/$name.log")" >>"$steps"
  echo "$name: $status, $((SECONDS - start)) s"
}
skip() {
  printf '%s\tskipped\t0\t%s\n' "$1" "$2" >>"$steps"
  echo "$1: skipped, $2"
}

site=$work/site
step build 240 "$python" -m pip install --quiet --no-build-isolation --no-deps --no-index --target "$site" "$root" \
  -C build-dir="${BUILD:-$work/build}" -C cmake.define.FASTCODEC_CUDA=ON -C cmake.define.FASTCODEC_CUDA_ARCHS="$ARCH"
((failed)) && { echo "the build failed, see $out/build.log" >&2; exit 1; }
# An editable install of the same package would come first.
cat >"$site/sitecustomize.py" <<'EOF'
import sys

sys.meta_path[:] = [finder for finder in sys.meta_path if "Redirecting" not in type(finder).__name__]
EOF
export PYTHONPATH=$site${PYTHONPATH:+:$PYTHONPATH} PYTEST_ADDOPTS="-p no:cacheprovider"
cd "$root" || exit 1

step machine_code 120 "$python" -m pytest -q tests/test_cuda_code.py
step gpu_tests 180 "$python" -m pytest -q -m gpu tests/test_gpu.py tests/test_rans_device.py
sanitizer=$(command -v compute-sanitizer || ls "$(dirname "$(readlink -f "$(command -v nvcc)")")/compute-sanitizer" 2>/dev/null)
for tool in memcheck racecheck synccheck; do
  if [[ -z $gpu ]]; then skip "$tool" "no GPU"
  elif [[ -z $sanitizer ]]; then skip "$tool" "no compute-sanitizer"
  else
    tests=(tests/test_gpu.py -k small)
    # Warpgroups that take turns meet at one barrier from different places of the code, which synccheck takes for a fault.
    [[ $tool == synccheck ]] && tests=(tests/test_rans_device.py)
    # Without torch's own pieces of larger blocks, so that memcheck sees where a tensor ends.
    step "$tool" 90 env PYTORCH_NO_CUDA_MEMORY_CACHING=1 "$sanitizer" --tool "$tool" --error-exitcode 1 \
      --kernel-regex kns=fastcodec "$python" -m pytest -q -m gpu "${tests[@]}"
  fi
done
ncu=$(command -v ncu || ls /usr/local/cuda/bin/ncu /opt/nvidia/nsight-compute/*/ncu 2>/dev/null | tail -n 1)
if [[ -z $gpu ]]; then skip ncu "no GPU"
elif [[ -z $ncu ]]; then skip ncu "no ncu"
# How busy the tensor cores and the memory are, conflicts of banks, what warps wait for; and that for each instruction.
elif timeout 90 "$ncu" --clock-control none --kernel-name regex:'image_kernel|row_pairs_kernel|conv_kernel' -f -o "$work/ncu" \
    --section SpeedOfLight --section ComputeWorkloadAnalysis --section MemoryWorkloadAnalysis_Tables --section WarpStateStats \
    --section SourceCounters "$python" bench/bench_gpu.py --once F >"$out/ncu.log" 2>&1 &&
    "$ncu" --import "$work/ncu.ncu-rep" --print-details all >"$out/ncu.log" 2>&1; then
  "$ncu" --import "$work/ncu.ncu-rep" --page source --csv >"$out/ncu_instructions.csv" 2>&1
  printf 'ncu\tpassed\t0\tsee ncu.log and ncu_instructions.csv\n' >>"$steps"
else skip ncu "$(tail -n 1 "$out/ncu.log")"
fi
timeout 120 "$python" bench/bench_gpu.py --steps "$steps" --json "$out/gpu_check.json" || failed=1
((failed)) && exit 1
[[ -n $gpu ]] || { echo "NO GPU: the kernels ran in the emulator only, and nothing was timed."; exit 2; }
