#!/usr/bin/python3
"""Hosts for tests, in a network namespace of theirs: echoes TCP and UDP, and answers DNS.

Usage: echo_server.py [tcp:ADDRESS:PORT | udp:ADDRESS:PORT | mute:ADDRESS:PORT | dns:ADDRESS:PORT:FILE]...

Prints "ready", then one line for each datagram or connection: "tcp ADDRESS PORT PEER". mute is UDP without an answer. FILE is JSON:
{"name": {"ttl": 30, "addresses": [...]}}, read anew for each question.
"""
import json
import selectors
import socket
import struct
import sys


def answer(question, table):
    """The answer to one DNS question (RFC 1035): A records, nothing else."""
    labels, at = [], 12
    while question[at]:
        labels.append(question[at + 1:at + 1 + question[at]].decode("latin-1"))
        at += 1 + question[at]
    end = at + 5
    entry = table.get(".".join(labels).lower())
    kind = struct.unpack("!H", question[at + 1:at + 3])[0]
    found = entry["addresses"] if entry and kind == 1 else []
    header = question[:2] + struct.pack("!HHHHH", 0x8180 if entry else 0x8183, 1, len(found), 0, 0)
    records = b"".join(b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, entry["ttl"], 4) + socket.inet_aton(address)
                       for address in found)
    return header + question[12:end] + records


def main():
    selector = selectors.DefaultSelector()
    for spec in sys.argv[1:]:
        kind, address, port, *rest = spec.split(":")
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 21)
        sock.bind((address, int(port)))
        if kind == "tcp":
            sock.listen(128)
        selector.register(sock, selectors.EVENT_READ, (kind, address, port, rest))
    print("ready", flush=True)
    while True:
        for key, _ in selector.select():
            kind, address, port, rest = key.data
            if kind == "tcp":
                peer, name = key.fileobj.accept()
                print("tcp", address, port, name[0], flush=True)
                selector.register(peer, selectors.EVENT_READ, ("stream", address, port, rest))
            elif kind == "stream":
                try:
                    data = key.fileobj.recv(65536)
                    key.fileobj.sendall(data)
                except ConnectionError:  # the run was killed
                    data = b""
                if not data:
                    selector.unregister(key.fileobj)
                    key.fileobj.close()
            else:
                data, name = key.fileobj.recvfrom(65536)
                print(kind, address, port, name[0], flush=True)
                if kind == "dns":
                    with open(rest[0], encoding="utf-8") as file:
                        data = answer(data, json.load(file))
                if kind != "mute":
                    key.fileobj.sendto(data, name)


if __name__ == "__main__":
    main()
