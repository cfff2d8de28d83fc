#!/bin/bash
# Builds the image `base`, Debian's busybox-static in a squashfs, and prints its path. The same inputs give the
# same bytes. Kept in the cache under base-<key>.img; the key is the hash of this script, the packages' versions
# and nothing else.
#
# Usage: build.sh [--key | --force OUT]     --force builds to OUT, whatever the cache holds
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
cache=$("$here/../../scripts/cache-dir")
versions=$(dpkg-query -W -f '${Package} ${Version}\n' busybox-static squashfs-tools 2>/dev/null) || {
    echo "busybox-static or squashfs-tools is missing: run 'make setup'" >&2
    exit 1
}
key=$({ cat "$0"; echo "$versions"; } | sha256sum | cut -c 1-16)
out=$cache/base-$key.img
case "${1:-}" in
--key) echo "$key"; exit 0 ;;
--force) out=$2 ;;
*) if [ -e "$out" ]; then echo "$out"; exit 0; fi ;;
esac

mkdir -p "$(dirname "$out")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
umask 022
root=$work/root
mkdir -p "$root"/usr/bin "$root"/{dev,proc,sys,run,etc,root,home,data,mnt,var/tmp,tmp}
chmod 1777 "$root/tmp" "$root/var/tmp"
ln -s usr/bin "$root/bin"
ln -s usr/bin "$root/sbin"
ln -s bin "$root/usr/sbin"
cp "$(dpkg-query -L busybox-static | grep -m 1 '/bin/busybox$')" "$root/usr/bin/busybox"
chmod 755 "$root/usr/bin/busybox"
for applet in $("$root/usr/bin/busybox" --list); do
    [ "$applet" = busybox ] || ln -s busybox "$root/usr/bin/$applet"
done
printf 'root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/:/bin/sh\n' > "$root/etc/passwd"
printf 'root:x:0:\nuser:x:1000:\n' > "$root/etc/group"
printf '127.0.0.1 localhost\n' > "$root/etc/hosts"
mksquashfs "$root" "$work/base.img" -comp lz4 -all-root -all-time 0 -mkfs-time 0 -noappend -no-xattrs \
    -no-exports -processors 1 -quiet -no-progress > /dev/null
mv "$work/base.img" "$out.$$"
mv "$out.$$" "$out"
echo "$out"
