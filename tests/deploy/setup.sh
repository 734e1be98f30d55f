#!/bin/sh
# Installs what checks the files for a deployment, once, and prints the path of its Python.
exec "$(dirname "$0")/../tools/venv.sh" "$(dirname "$0")"
