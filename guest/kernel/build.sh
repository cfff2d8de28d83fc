#!/bin/bash
# Builds the guest kernel from the source package of the running Debian release (the one that linux-source depends on) and
# prints the path of its vmlinux.
#
# Usage: build.sh [--key]     --key prints the cache key and builds nothing
#
# The result lives outside the build tree, in the directory that scripts/cache-dir prints, under kernel-<key>/vmlinux. The key is
# the hash of everything that decides the bytes: this script, the config, the source package and the compiler. Nothing of the
# machine is in it, so that a kernel serves every root with the same packages. One that root keeps in /var/cache/safe-run serves
# everybody: it is used when nobody but root can have written it.
# KERNEL=path uses that kernel as it is.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
if [ -n "${KERNEL:-}" ] && [ "${1:-}" != --key ]; then
    [ -r "$KERNEL" ] || { echo "KERNEL=$KERNEL cannot be read" >&2; exit 1; }
    readlink -f "$KERNEL"
    exit 0
fi

cache=$("$here/../../scripts/cache-dir")
package=$(dpkg-query -W -f '${Depends}' linux-source 2>/dev/null | grep -oE '^linux-source-[0-9.]+') || {
    echo "linux-source is missing; as root: scripts/setup build" >&2
    exit 1
}
release=${package#linux-source-}
version=$(dpkg-query -W -f '${Version}' "$package")
source_tar=/usr/src/$package.tar.xz
options=("$here/config")
[ ! -e "$here/config-$release" ] || options+=("$here/config-$release") # names that only this kernel has
compiler=$(gcc --version | head -n 1; ld --version | head -n 1)
key=$({ cat "$0" "${options[@]}"; echo "$package $version"; echo "$compiler"; } | sha256sum | cut -c 1-16)
if [ "${1:-}" = --key ]; then echo "$key"; exit 0; fi

# Prints the kernel that is in a cache, if there is one.
find_in() { [ -e "$1/kernel-$key/vmlinux" ] && echo "$1/kernel-$key/vmlinux"; }
# Says whether only root can have written a file: it and the directories above it are root's, and writable by nobody else.
only_root_wrote() {
    local path
    [ "$(readlink -f "$1")" = "$1" ] || return 1
    for path in "$1" "${1%/*}" /var/cache/safe-run /var/cache /var /; do
        [ "$(find "$path" -maxdepth 0 -uid 0 ! -perm /022)" = "$path" ] || return 1
    done
}

find_in "$cache" && exit 0
if shared=$(find_in /var/cache/safe-run) && [ -r "$shared" ] && only_root_wrote "$shared"; then
    echo "$shared"
    exit 0
fi

mkdir -p "$cache"
exec 9>"$cache/kernel.lock"
flock 9 # a second build waits here and then finds the first one's result
find_in "$cache" && exit 0

umask 022
rm -rf "$cache"/kernel-build.* # of builds that were killed: they held the lock
work=$(mktemp -d "$cache/kernel-build.XXXXXX")
trap 'rm -rf "$work"' EXIT
say() { echo "guest kernel: $*" >&2; }

say "unpacking $source_tar ($version)"
tar -C "$work" --strip-components=1 -xf "$source_tar"
cd "$work"
export KBUILD_BUILD_TIMESTAMP='1970-01-01 00:00:00 UTC' KBUILD_BUILD_USER=safe-run
export KBUILD_BUILD_HOST=safe-run KBUILD_BUILD_VERSION=1
make -s tinyconfig > /dev/null
cat "${options[@]}" >> .config
make -s olddefconfig 2>/dev/null
wanted=$(cat "${options[@]}")
lost=$(grep -E '=[y0-9-]' <<< "$wanted" | grep -vxFf .config || true
    sed -n 's/=n$/=y/p' <<< "$wanted" | grep -xFf .config || true)
if [ -n "$lost" ]; then
    say "these options of ${options[*]} did not come out of Kconfig as written:"
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
mv "$work/out" "$cache/kernel-$key"
say "done in $SECONDS s: $cache/kernel-$key/vmlinux"
echo "$cache/kernel-$key/vmlinux"
