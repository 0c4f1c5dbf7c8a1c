#!/bin/bash
# The step of action.yml: has a dapple, and runs the drill. Inputs are variables
# INPUT_…, as action.yml sets them.
set -euo pipefail

dapple=${INPUT_BINARY:-}
if [ -z "$dapple" ]; then
	bin=${RUNNER_TEMP:-/tmp}/dapple-bin
	mkdir -p "$bin"
	if [ -n "${INPUT_VERSION:-}" ]; then
		CGO_ENABLED=0 GOBIN=$bin go install "github.com/dapple-drills/dapple/cmd/dapple@$INPUT_VERSION"
	else
		(cd "$DAPPLE_ACTION" && CGO_ENABLED=0 go build -o "$bin/dapple" ./cmd/dapple)
	fi
	dapple=$bin/dapple
fi

# Words of the inputs that may be several; file names are not expanded.
set -f
# shellcheck disable=SC2206 # they are meant to be split
scenarios=(${INPUT_SCENARIO//$'\n'/ })
# shellcheck disable=SC2206
more=(${INPUT_ARGS:-})
set +f

args=(run "${scenarios[@]}" --on "$INPUT_SYSTEM" --out "$INPUT_OUT" --format "junit=$INPUT_JUNIT")
[ -z "${INPUT_TRIALS:-}" ] || args+=(--trials "$INPUT_TRIALS")
[ -z "${INPUT_SHARD:-}" ] || args+=(--shard "$INPUT_SHARD")
[ -z "${INPUT_SEED:-}" ] || args+=(--seed "$INPUT_SEED")
[ -z "${INPUT_FAIL_ON:-}" ] || args+=(--fail-on "$INPUT_FAIL_ON")
exec "$dapple" "${args[@]}" ${more[@]+"${more[@]}"}
