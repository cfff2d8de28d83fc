#!/bin/bash
# Builds the guest kernel from Debian's linux-source-6.1 and prints the path of its vmlinux.
#
# Usage: build.sh [--key]     --key prints the cache key and builds nothing
#
# The result lives outside the build tree, in $SAFE_RUN_CACHE_DIR, else /var/cache/safe-run for root,
# else ${XDG_CACHE_HOME:-~/.cache}/safe-run, under kernel-<key>/vmlinux. The key is the hash of
# everything that decides the bytes: this script, the config, the source package and the compiler.
# KERNEL=path uses that kernel as it is.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
source_tar=/usr/src/linux-source-6.1.tar.xz
if [ -n "${KERNEL:-}" ] && [ "${1:-}" != --key ]; then
    [ -r "$KERNEL" ] || { echo "KERNEL=$KERNEL cannot be read" >&2; exit 1; }
    readlink -f "$KERNEL"
    exit 0
fi

cache=$("$here/../../scripts/cache-dir")
version=$(dpkg-query -W -f '${Version}' linux-source-6.1 2>/dev/null) || {
    echo "linux-source-6.1 is missing: run 'make setup'" >&2
    exit 1
}
compiler=$(gcc --version | head -n 1; ld --version | head -n 1)
key=$({ cat "$0" "$here/config"; echo "$version"; echo "$compiler"; } | sha256sum | cut -c 1-16)
if [ "${1:-}" = --key ]; then echo "$key"; exit 0; fi

out=$cache/kernel-$key
if [ -e "$out/vmlinux" ]; then echo "$out/vmlinux"; exit 0; fi

mkdir -p "$cache"
exec 9>"$cache/kernel.lock"
flock 9 # a second build waits here and then finds the first one's result
if [ -e "$out/vmlinux" ]; then echo "$out/vmlinux"; exit 0; fi

work=$(mktemp -d "$cache/kernel-build.XXXXXX")
trap 'rm -rf "$work"' EXIT
say() { echo "guest kernel: $*" >&2; }

say "unpacking $source_tar ($version)"
tar -C "$work" --strip-components=1 -xf "$source_tar"
cd "$work"
export KBUILD_BUILD_TIMESTAMP='1970-01-01 00:00:00 UTC' KBUILD_BUILD_USER=safe-run
export KBUILD_BUILD_HOST=safe-run KBUILD_BUILD_VERSION=1
make -s tinyconfig > /dev/null
cat "$here/config" >> .config
make -s olddefconfig 2>/dev/null
lost=$(grep -E '=[y0-9-]' "$here/config" | grep -vxFf .config || true
    sed -n 's/=n$/=y/p' "$here/config" | grep -xFf .config || true)
if [ -n "$lost" ]; then
    say "these options of $here/config did not come out of Kconfig as written:"
    echo "$lost" >&2
    exit 1
fi

say "compiling with $(nproc) jobs (some minutes, once; later builds find it in $cache)"
make -j"$(nproc)" vmlinux > build.log 2>&1 &
pid=$!
while kill -0 "$pid" 2>/dev/null; do
    sleep 2
    done_objects=$(grep -c '^  CC ' build.log || true)
    if [ -t 2 ]; then printf '\rguest kernel: %5d files compiled' "$done_objects" >&2
    elif [ $((SECONDS % 30)) -lt 2 ]; then say "$done_objects files compiled"; fi
done
[ -t 2 ] && echo >&2
wait "$pid" || { tail -n 30 build.log >&2; say "the build failed"; exit 1; }

strip --strip-all vmlinux
mkdir "$work/out"
cp vmlinux .config "$work/out/"
mv "$work/out" "$out"
say "done in $SECONDS s: $out/vmlinux"
echo "$out/vmlinux"
