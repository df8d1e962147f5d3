#!/bin/bash
# Every shell script below a folder, by shellcheck, as TAP: one test point a script.
set -u
folder=$1
cd -- "$folder" || exit 2
command -v shellcheck > /dev/null || exit 2

tap=$HOME/shellcheck.tap
mapfile -d '' scripts < <(
    find . -type f -not -path './.git/*' -print0 | sort -z | while IFS= read -r -d '' file; do
        case $file in
        *.sh | *.bash) printf '%s\0' "$file" ;;
        *) head -c 64 -- "$file" | head -n 1 | grep -aqE '^#!.*\b(ba|da|k)?sh\b' && printf '%s\0' "$file" ;;
        esac
    done
)
{
    echo 'TAP version 13'
    echo "1..${#scripts[@]}"
} > "$tap"
failed=0
for n in "${!scripts[@]}"; do
    name=$(printf '%s' "${scripts[n]#./}" | tr -d '\n' | sed 's/[\\#]/\\&/g')
    found=$(shellcheck --format=gcc -- "${scripts[n]}" 2>&1)
    if [ -z "$found" ]; then
        echo "ok $((n + 1)) - $name" >> "$tap"
    else
        failed=1
        printf '%s\n' "$found"
        {
            echo "not ok $((n + 1)) - $name"
            echo '  ---'
            echo '  message: |'
            printf '    %s\n' "${found//$'\n'/$'\n'    }"
            echo '  ...'
        } >> "$tap"
    fi
done
exit $failed
