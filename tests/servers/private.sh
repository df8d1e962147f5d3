# What the two private servers have in common: a free port, waiting with a
# deadline, and a folder they may use. Sourced by `postgres` and `rabbitmq`.

# Each instance lives in one folder, named by an absolute path without symlinks,
# because that path is also how its processes are recognised.
instance_folder() {
    mkdir -p "$1" && (cd "$1" && pwd -P)
}

listening() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# A port that nobody listens on, below the range that the kernel gives to
# outgoing connections. Whoever starts a server on it still has to look whether
# another instance was quicker.
free_port() {
    local port
    while port=$((20000 + RANDOM % 12000)); do
        listening "$port" || break
    done
    echo "$port"
}

# until_true SECONDS COMMAND…: runs COMMAND until it succeeds; fails when time is up.
until_true() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$deadline" ] || return 1
        sleep 0.05
    done
}

# Whether a process is dead to the last thread, and so has let go of its files and
# ports. (Its environment and its working folder are gone a little earlier; that
# its parent has not reaped it may last for ever.)
dead() {
    local line fields
    { read -r line <"/proc/$1/stat"; } 2>/dev/null || return 0
    read -ra fields <<<"${line##*) }"
    [[ ${fields[0]} = [ZX] && ${fields[17]} -le 1 ]]
}

all_dead() {
    local process
    for process in "$@"; do
        dead "$process" || return 1
    done
}

# kill_until_dead COMMAND…: SIGKILL to what COMMAND prints, until it prints nothing.
kill_until_dead() {
    local found
    while found=$("$@") && [ -n "$found" ]; do
        # Between the look and the signal some may die by themselves.
        xargs kill -KILL <<<"$found" 2>/dev/null || true
        # shellcheck disable=SC2086 # one word a process
        until_true 30 all_dead $found || die "survives SIGKILL: $found"
    done
}

die() {
    echo "${0##*/}: $*" >&2
    exit 1
}
