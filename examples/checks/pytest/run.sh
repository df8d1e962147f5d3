#!/bin/sh
# A project's own tests, by pytest, in a copy that they may write into.
set -eu
cp -R -- "$1" project
mkdir reports
cd project
exec python3 -m pytest -p no:cacheprovider --junitxml="$HOME/reports/pytest.xml"
