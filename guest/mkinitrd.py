#!/usr/bin/env python3
"""Writes an initramfs (cpio, "newc") that holds one file, /init. The same input gives the same
bytes.

Usage: mkinitrd.py INIT OUT

The format is the kernel's Documentation/driver-api/early-userspace/buffer-format.rst.
"""
import sys


def entry(name, mode, data=b"", rdev=(0, 0)):
    fields = [0, mode, 0, 0, 1, 0, len(data), 0, 0, *rdev, len(name) + 1, 0]
    head = b"070701" + b"".join(b"%08x" % field for field in fields) + name + b"\0"
    return head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4)


with open(sys.argv[1], "rb") as file:
    init = file.read()
with open(sys.argv[2], "wb") as out:
    out.write(entry(b"dev", 0o040755))
    out.write(entry(b"dev/console", 0o020600, rdev=(5, 1)))
    out.write(entry(b"init", 0o100755, init))
    out.write(entry(b"TRAILER!!!", 0))
