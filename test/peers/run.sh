#!/usr/bin/env bash
# Measures Gatehouse beside its peers in one run and prints one table in Markdown.
#
#   test/peers/run.sh            # about six minutes; leave the machine alone meanwhile
#   test/peers/run.sh --quick    # about two, less exact
#   test/peers/run.sh --only login   # one measurement: start me list login refresh memory pickup queue news
#                                    # idle lateness recovery subscribers worst csv; with a regular expression, several
#   test/peers/run.sh --queues       # instead: the queue beside River, asynq and gocraft/work, some five minutes
#
# Needs Go. Node with npm (for Mercurius), redis-server and postgres are used where they are installed;
# what needs an absent one is left out, and the log says so. With GATEHOUSE_LOAD_PROFILES=FOLDER the CPU
# and heap profiles of Gatehouse are kept there. Everything listens on free loopback ports and has
# ended when the script has.
set -euo pipefail
cd "$(dirname "$0")/../.."

mode=full
only=
queues=
while [ $# -gt 0 ]; do
  case "$1" in
    --quick) mode=quick ;;
    --only) only=$2; shift ;;
    --queues) queues=yes ;;
    *) echo "usage: $0 [--quick] [--only NAME | --queues]" >&2; exit 2 ;;
  esac
  shift
done

ulimit -n "$(ulimit -Hn)" # thousands of sockets, on both ends

if [ -n "$queues" ]; then
  table=$(mktemp)
  trap 'rm -f "$table"' EXIT
  (cd test/peers/queues && GATEHOUSE_LOAD=$mode GATEHOUSE_LOAD_TABLE=$table go test -count=1 -v -timeout 30m . >&2)
  printf '%s, %s, %s, %s cores\n\n' "$(date -u +%F)" "$(go env GOVERSION)" "$mode" "$(nproc)"
  cat "$table"
  exit
fi

if command -v node > /dev/null && command -v npm > /dev/null; then
  if [ ! -d test/peers/mercurius/node_modules ]; then
    (cd test/peers/mercurius && npm ci --no-audit --no-fund >&2) || echo "Mercurius could not be installed: it is left out" >&2
  fi
else
  echo "Node is not installed: Mercurius is left out" >&2
fi

table=$(mktemp)
trap 'rm -f "$table"' EXIT
status=0
GATEHOUSE_LOAD=$mode GATEHOUSE_LOAD_TABLE=$table \
  go test -count=1 -v -timeout 30m -run "TestBars/${only:+^($only)\$}" ./test/load >&2 || status=$?

printf '%s, %s, %s, %s cores, load average at the end %s\n\n' \
  "$(date -u +%F)" "$(go env GOVERSION)" "$mode" "$(nproc)" "$(cut -d' ' -f1-3 /proc/loadavg)"
cat "$table"
exit $status
