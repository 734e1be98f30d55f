#!/bin/sh
# Installs what drives the browser, once, and prints the path of its Python.
exec "$(dirname "$0")/../tools/venv.sh" "$(dirname "$0")"
