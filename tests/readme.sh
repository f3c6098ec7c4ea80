#!/usr/bin/env bash
# Runs the README's commands as they are printed there.
set -euo pipefail
cd "$(dirname "$0")/.."

# The shell lines between a heading's first ```sh fence and its end.
block() { awk -v n="$1" '/^```sh$/ { if (++seen == n) { on = 1; next } } /^```$/ { on = 0 } on' README.md; }

passed=0
check() { # NAME TEXT PATTERN
  if grep -q -- "$3" <<<"$2"; then
    passed=$((passed + 1)); echo "ok   $1"
  else
    echo "FAIL $1: no '$3' in: $2"; exit 1
  fi
}

serve=$(block 1) ask=$(block 2) tests=$(block 3) example=$(block 4)
check "the second command is cargo test" "$tests" '^cargo test$'

cargo build --release --quiet
bash -c "exec $serve" >target/readme.out 2>target/readme.err &
server=$!
trap 'kill "$server" 2>/dev/null || true' EXIT
timeout 60 bash -c 'until grep -q "aimock listening on" target/readme.out; do kill -0 '"$server"' || exit 1; sleep 0.1; done'
check "the server answers the curl" "$(bash -c "$ask")" 'Hi there!'
check "the fixture answers Anthropic's endpoint" "$(curl -s http://127.0.0.1:4010/v1/messages -H 'x-api-key: k' \
  -H 'anthropic-version: 2023-06-01' -d '{"model":"c","max_tokens":9,"messages":[{"role":"user","content":"hello"}]}')" \
  '"type":"text","text":"Hi there!'
kill "$server"; wait "$server" || true
trap - EXIT

check "the example replays what it recorded" "$(bash -c "$example" 2>&1)" 'Replaying, strict'
echo "$passed passed, 0 failed"
