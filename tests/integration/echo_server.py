#!/usr/bin/python3
"""Hosts for tests, in a network namespace of theirs: echoes TCP and UDP, answers DNS, listens at a
cable.

Usage: echo_server.py SPEC...

  tcp:ADDRESS:PORT, udp:ADDRESS:PORT  echo           mute:ADDRESS:PORT      UDP without an answer
  dns:ADDRESS:PORT:FILE               a name server  sniff:INTERFACE:MAC    frames from a MAC that
                                      begins so (hexadecimal)

Prints "ready", then one line for each datagram, connection or question: "tcp ADDRESS PORT PEER";
for each frame "sniff arp" or "sniff PROTOCOL DESTINATION PORT". FILE is JSON, read anew for each
question: {"name": {"ttl": 30, "addresses": [...]}}, where a name may also have "cname" (a chain of
aliases before the addresses), "truncate" (the whole answer comes by TCP only) and "rotate" (each
answer has one of the addresses, in turn).
"""
import itertools
import json
import selectors
import socket
import struct
import sys

turns = itertools.count()


def encode(name):
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


def record(owner, kind, ttl, data):
    return owner + struct.pack("!HHIH", kind, 1, ttl, len(data)) + data


def answer(question, table, by_tcp=False):
    """The answer to one DNS question (RFC 1035): CNAME and A records, nothing else."""
    labels, at = [], 12
    while question[at]:
        labels.append(question[at + 1:at + 1 + question[at]].decode("latin-1"))
        at += 1 + question[at]
    end = at + 5
    entry = table.get(".".join(labels).lower())
    owner, records = b"\xc0\x0c", []
    cut = bool(entry and entry.get("truncate") and not by_tcp)
    if entry and struct.unpack("!H", question[at + 1:at + 3])[0] == 1 and not cut:
        for alias in entry.get("cname", []):
            records.append(record(owner, 5, entry["ttl"], encode(alias)))
            owner = encode(alias)
        addresses = entry["addresses"]
        if entry.get("rotate"):
            addresses = [addresses[next(turns) % len(addresses)]]
        records += [record(owner, 1, entry["ttl"], socket.inet_aton(address))
                    for address in addresses]
    cut = cut or (not by_tcp and sum(map(len, records)) + end > 512)  # nobody here speaks EDNS
    if cut:
        records = []
    flags = (0x8180 if entry else 0x8183) | (0x0200 if cut else 0)
    return question[:2] + struct.pack("!HHHHH", flags, 1, len(records), 0,
                                      0) + question[12:end] + b"".join(records)


def describe(frame):
    """A frame in words, without its addresses on the cable."""
    kind = struct.unpack("!H", frame[12:14])[0]
    if kind != 0x0800:
        return "arp" if kind == 0x0806 else f"{kind:04x}"
    header = 14 + (frame[14] & 15) * 4
    protocol = {1: "icmp", 6: "tcp", 17: "udp"}.get(frame[23], f"ip-{frame[23]}")
    port = struct.unpack("!H", frame[header + 2:header + 4])[0] if protocol in ("tcp", "udp") else 0
    return f"{protocol} {socket.inet_ntoa(frame[30:34])} {port}"


def read_table(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


class Servers:
    def __init__(self):
        self.selector = selectors.DefaultSelector()

    def watch(self, sock, what, *facts):
        self.selector.register(sock, selectors.EVENT_READ, (what, facts))

    def listen(self, kind, address, port, *rest):
        if kind == "sniff":
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            sock.bind((address, 0))
            return self.watch(sock, self.on_frame, bytes.fromhex(port))
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        if kind in ("tcp", "dns"):
            stream = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            stream.bind((address, int(port)))
            stream.listen(128)
            self.watch(stream, self.on_connection, kind, address, port, *rest)
        if kind != "tcp":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 21)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR,
                            1)  # a name server takes an echo's place
            sock.bind((address, int(port)))
            self.watch(sock, self.on_datagram, kind, address, port, *rest)

    def on_connection(self, sock, kind, address, port, *rest):
        peer, name = sock.accept()
        print(kind, address, port, name[0], flush=True)
        self.watch(peer, self.on_stream, kind, *rest)

    def on_stream(self, peer, kind, *rest):
        try:
            data = peer.recv(65536)
            if kind == "tcp":
                peer.sendall(data)
            questions = data if kind == "dns" else b""  # each with its length before it
            while questions:
                end = 2 + struct.unpack("!H", questions[:2])[0]
                reply = answer(questions[2:end], read_table(rest[0]), by_tcp=True)
                peer.sendall(struct.pack("!H", len(reply)) + reply)
                questions = questions[end:]
        except ConnectionError:  # the run was killed
            data = b""
        if not data:
            self.selector.unregister(peer)
            peer.close()

    def on_datagram(self, sock, kind, address, port, *rest):
        data, name = sock.recvfrom(65536)
        print(kind, address, port, name[0], flush=True)
        if kind != "mute":
            sock.sendto(answer(data, read_table(rest[0])) if kind == "dns" else data, name)

    def on_frame(self, sock, prefix):
        frame, origin = sock.recvfrom(65536)
        if origin[2] != socket.PACKET_OUTGOING and frame[6:6 + len(prefix)] == prefix:
            print("sniff", describe(frame), flush=True)

    def run(self):
        print("ready", flush=True)
        while True:
            for key, _ in self.selector.select():
                what, facts = key.data
                what(key.fileobj, *facts)


if __name__ == "__main__":
    servers = Servers()
    for spec in sys.argv[1:]:
        servers.listen(*spec.split(":"))
    servers.run()
