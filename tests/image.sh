#!/bin/sh
# What the image promises, checked without a container engine: the binary is built by the Dockerfile's own commands and
# runs in an empty root that is read-only, as its user, with nothing beside it but /fixtures. Needs root, for the
# namespaces; the network is a private one in which nothing but this test listens.
#
#   tests/image.sh
set -eu
cd "$(dirname "$0")/.."

# The lines of the Dockerfile that say how.
dockerfile() {
    sed -n "s/^$1//p" Dockerfile
}

if [ "${1:-}" != inside ]; then
    [ "$(id -u)" = 0 ] || { echo "tests/image.sh: needs root, for unshare and chroot" >&2; exit 1; }
    RUSTFLAGS=$(dockerfile 'ENV RUSTFLAGS=' | tr -d '"')
    CARGO_TARGET_DIR=$PWD/target/static
    export RUSTFLAGS CARGO_TARGET_DIR
    eval "$(dockerfile 'RUN ' | grep '^cargo build')"
    unset RUSTFLAGS
    exec unshare --mount --net --pid --fork --kill-child --mount-proc "$0" inside
fi

ip link set lo up
work=$(mktemp -d)
trap 'umount -R "$work/root"; rm -rf "$work"' EXIT
binary=$(ls target/static/*/release/aimock)
user=$(dockerfile 'USER ')
host=$(dockerfile 'ENV AIMOCK_HOST=')
url=http://127.0.0.1:4010

passed=0
failed=0
check() { # NAME COMMAND…
    name=$1
    shift
    if "$@" >"$work/check.log" 2>&1; then
        passed=$((passed + 1))
        echo "ok      $name"
    else
        failed=$((failed + 1))
        echo "FAILED  $name"
        sed 's/^/        /' "$work/check.log" "$work/server.log" 2>/dev/null || true
    fi
}

# The image: a read-only root with the binary, and a volume.
mkdir "$work/root" "$work/root/fixtures" "$work/fixtures"
cp "$binary" "$work/root/aimock"
chmod 755 "$work" "$work/root"
chown "$user" "$work/fixtures"
cp tests/image/hello.json "$work/fixtures/hello.json"
mount --bind "$work/root" "$work/root"
mount --bind "$work/fixtures" "$work/root/fixtures"
mount -o remount,ro,bind "$work/root"

in_image="env -i AIMOCK_HOST=$host $(command -v chroot) --userspec=$user $work/root /aimock"

start() { # ARG…
    $in_image "$@" >"$work/stdout.log" 2>"$work/server.log" &
    server=$!
    for _ in $(seq 100); do
        grep -q '^aimock listening on ' "$work/stdout.log" && return 0
        kill -0 "$server" 2>/dev/null || return 1
        sleep 0.05
    done
    return 1
}

stop() {
    kill -TERM "$server" && wait "$server"
}

ask() { # QUESTION: the answer's text
    curl -sS --fail-with-body -m 10 "$url/v1/chat/completions" -H 'content-type: application/json' \
        -H 'authorization: Bearer sk-test' \
        -d "{\"model\":\"gpt-4o\",\"messages\":[{\"role\":\"user\",\"content\":\"$1\"}]}" |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["choices"][0]["message"]["content"])' 2>/dev/null
}

answers() { # QUESTION ANSWER
    got=$(ask "$1")
    [ "$got" = "$2" ] || { echo "expected '$2', got '$got'"; return 1; }
}

refuses() { # QUESTION REASON
    curl -sS -m 10 "$url/v1/chat/completions" -H 'content-type: application/json' -H 'authorization: Bearer sk-test' \
        -d "{\"model\":\"gpt-4o\",\"messages\":[{\"role\":\"user\",\"content\":\"$1\"}]}" >"$work/refusal.json"
    cat "$work/refusal.json"
    grep -q "$2" "$work/refusal.json"
}

is_static() {
    file "$binary"
    ldd "$binary" || true
    file "$binary" | grep -Eq 'static-pie linked|statically linked' &&
        ldd "$binary" 2>&1 | grep -Eq 'statically linked|not a dynamic executable'
}

runs_as_user() {
    uid=$(awk '/^Uid:/ {print $2}' "/proc/$server/status")
    [ "$uid" = "${user%%:*}" ] && [ "$uid" != 0 ]
}

read_only() {
    ! touch "$work/root/x"
}

recorded() { # COUNT: fixtures on disk, owned by the image's user
    found=$(find "$work/fixtures/recorded" -name '*.json' -user "${user%%:*}" | wc -l)
    [ "$found" -eq "$1" ] || { echo "expected $1 recordings, found $found"; return 1; }
}

unhealthy() {
    $in_image health && return 1
    [ $? -eq 1 ]
}

echo "$(stat -c %s "$binary") bytes"
check 'the binary is static' is_static
check 'without a server, health exits with 1' unhealthy

check 'starts with the default command' start --fixtures /fixtures
check 'runs as a user that is not root' runs_as_user
check 'the root is read-only' read_only
check 'answers from a fixture' answers hello 'Hello from the image.'
check 'health exits with 0' $in_image health
check 'health knows localhost' $in_image health http://localhost:4010
check 'stops with 0 at SIGTERM' stop

python3 tests/image/upstream.py >"$work/upstream.log" 2>&1 &
upstream=$!
for _ in $(seq 100); do
    curl -s -o "$work/upstream.json" http://127.0.0.1:8080/ && break
    sleep 0.05
done
check 'records with localhost as upstream, without /etc' \
    start --fixtures /fixtures --record --provider-openai http://localhost:8080
check 'relays its answer' answers 'by name' 'upstream says: by name'
check 'the recording is on disk' recorded 1
check 'stops with 0 after recording' stop
check 'records with an upstream that DNS knows' \
    start --fixtures /fixtures --record --provider-openai http://upstream.test:8080
check 'relays its answer, too' answers 'by dns' 'upstream says: by dns'
check 'that recording is on disk' recorded 2
check 'stops with 0 again' stop

# What a container engine adds: its own names, its name servers. The first of them is not there.
mount -o remount,rw,bind "$work/root"
mkdir "$work/root/etc"
echo '127.0.0.1 Own-Name.example own-name # not in DNS' >"$work/root/etc/hosts"
printf 'search nowhere.test test\nnameserver 127.0.0.9\nnameserver 127.0.0.1\noptions ndots:5\n' >"$work/root/etc/resolv.conf"
mount -o remount,ro,bind "$work/root"
check 'records with an upstream that /etc/hosts knows' \
    start --fixtures /fixtures --record --provider-openai http://own-name:8080
check 'relays what it answers' answers 'by hosts' 'upstream says: by hosts'
check 'health finds it by that name' $in_image health http://own-name.example:4010
check 'stops with 0 after that' stop
check 'records with an upstream that is in a search domain, at the second name server' \
    start --host own-name --fixtures /fixtures --record --provider-openai http://upstream:8080
check 'relays what that answers' answers 'by search' 'upstream says: by search'
check 'four recordings are on disk' recorded 4
check 'stops with 0 after the search' stop
check 'starts with an upstream that nobody knows' \
    start --fixtures /fixtures --record --provider-openai http://nobody:8080
check 'says where it looked' refuses 'by nobody' 'tried nobody.nowhere.test, nobody.test, nobody'
check 'stops with 0 nevertheless' stop
kill "$upstream"

check 'starts with --strict' start --fixtures /fixtures --strict
check 'replays the first recording without the upstream' answers 'by name' 'upstream says: by name'
check 'replays the second' answers 'by dns' 'upstream says: by dns'
check 'stops with 0 at the end' stop

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
