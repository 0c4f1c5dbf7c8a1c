#!/bin/sh
# assemble.sh ARCH OUT makes the bytes of ARCH.S, with the assembler of the
# binutils: run by "go generate ./internal/vdso", and by its test.
set -eu
src=$(dirname "$0")/$1.S
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
as --64 -o "$tmp/o" "$src"
objcopy -O binary -j .text "$tmp/o" "$2"
