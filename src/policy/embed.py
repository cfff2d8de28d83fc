#!/usr/bin/python3
"""Writes files into a C source as texts: embed.py OUTPUT HEADER NAME FILE [NAME FILE]..."""
import sys

output, header, *rest = sys.argv[1:]
with open(output, "w", encoding="ascii") as out:
    out.write(f'#include "{header}"\n')
    for name, path in zip(rest[::2], rest[1::2]):
        with open(path, "rb") as file:
            data = file.read()
        numbers = ",".join(str(byte) for byte in data)
        out.write(f"\nconst char {name}[] = {{{numbers},0}};\n")
