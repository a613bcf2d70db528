#!/bin/sh
# Runs tests on the oldest or the newest versions that pyproject admits, in an environment that is
# removed afterwards:  tools/test_versions.sh oldest|newest TEST...
set -eu
which=$1
shift
folder=$(mktemp -d "${TMPDIR:-/tmp}/labelrepair-$which.XXXXXX")
trap 'rm -rf "$folder"' EXIT INT TERM
unset PYTHONPATH
${PYTHON:-python3} -m venv "$folder"
extras='.[cleanlab,kedro,mlflow,dvc,plots]'
case $which in
oldest) "$folder/bin/pip" install --quiet -c constraints-oldest.txt -e "$extras" ;;
newest) "$folder/bin/pip" install --quiet --upgrade -e "$extras" ;;
*) echo "expected oldest or newest, found $which" >&2 && exit 2 ;;
esac
"$folder/bin/pip" install --quiet 'pytest>=8' 'pytest-xdist>=3.6' 'hypothesis>=6.100'
"$folder/bin/pip" freeze --exclude-editable | grep -Ei '^(numpy|pandas|torch|torchvision|kedro|mlflow|dvc|pandera)=='
DO_NOT_TRACK=1 PATH="$folder/bin:$PATH" "$folder/bin/python" -m pytest -p no:cacheprovider "$@"
