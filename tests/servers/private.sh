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

die() {
    echo "${0##*/}: $*" >&2
    exit 1
}
