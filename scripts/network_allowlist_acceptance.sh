#!/bin/bash
# The egress conformance kit: what a guest can reach under network.mode allowlist, and what it cannot, against hosts that this
# script makes in network namespaces of its own. Prints a table, the counters of the run, and the search for residue.
#
# Usage: scripts/network_allowlist_acceptance.sh [BUILD]      as root; needs iproute2, nftables, passt, python3
#
# No address outside of the namespaces is ever contacted, and nothing stays behind. Exit status: 0 all as it must be; 1 not.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:-build}
[ -x "$build/safe-run" ] || make build
[ "$(id -u)" = 0 ] || { echo "this makes network namespaces: run it as root" >&2; exit 1; }
exec python3 scripts/network_acceptance.py "$build"
