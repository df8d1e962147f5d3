#!/bin/bash
# rpmlint on one RPM. Errors fail it, warnings ask for a person. What is no RPM, or no rpmlint, is no verdict.
set -u
rpm=$1

say() {
    printf 'results:\n- outcome: %s\n  note: "%s"\n  type: rpm\n' "$1" "$2" > "$TASKOTRON_RESULTS"
}

if ! [ -f "$rpm" ] || ! name=$(rpm --query --package "$rpm"); then
    say ERROR "there is no RPM at this place"
    exit 2
fi
# rpmlint passes over what is not called an RPM.
ln -s "$(realpath "$rpm")" "$name.rpm"
rpmlint --config rpmlint.toml "$name.rpm" | tee rpmlint.log
code=${PIPESTATUS[0]}
sum=$(grep -E '[0-9]+ errors, [0-9]+ warnings' rpmlint.log | tail -n 1 | tr -dc '[:alnum:] ,;.' | sed 's/^ *//; s/ *; has taken.*//')
errors=$(grep -oE '[0-9]+ errors' <<< "$sum" | cut -d ' ' -f 1)
warnings=$(grep -oE '[0-9]+ warnings' <<< "$sum" | cut -d ' ' -f 1)
if [ -z "$errors" ] || ! grep -q '^ *1 packages' rpmlint.log; then
    say ERROR "rpmlint ended with $code and has checked nothing"
    exit 2
elif [ "$errors" -gt 0 ]; then
    say FAILED "$sum"
    exit 1
elif [ "$warnings" -gt 0 ]; then
    say NEEDS_INSPECTION "$sum"
else
    say PASSED "$sum"
fi
