#!/usr/bin/env bash
# run.sh [--driver auto|uring|epoll|mixed] [--peer]: boots the guest, starts targets where it reaches them, and lets the
# guest's kernel initiator do what a Linux host does (checks.sh).
#   --driver   the driver the targets are started with (default auto)
#   --peer     Debian's tgtd in place of ours (package tgt): tells a fault of the guest from a fault of the target
# The target is $QUINTAIN_BIN, by default target/release/quintain. The guest is built when the cache has none (build.sh).
# All of it lives in a network namespace of its own that is removed at the end with every process started.
# Ends 0 when every check passed, 1 when one failed or the guest died, 77 with one line where it cannot run.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
cache=${QUINTAIN_GUEST_CACHE:-${HOME:-/root}/.cache/quintain-guest}
export PATH="$PATH:/usr/sbin:/sbin"
driver=auto peer=
limit=${QUINTAIN_GUEST_LIMIT:-240} # seconds for the checks
namespace=quintain-$$
host=10.88.0.1
run= guest= plain= protected=
disk=iqn.2026-11.org.example:disk
secured=iqn.2026-11.org.example:secured
chap_user=guest chap_secret=guest-secret-16b mutual_user=target mutual_secret=target-secret-16

cannot() { echo "guest: cannot run here: $*" >&2; exit 77; }
fail() { echo "guest: $*" >&2; exit 1; }

end_process() { # PID SIGNAL: and waits for it, at most five seconds before it is killed
  local pid=$1
  kill "-$2" "$pid" 2>/dev/null || return 0
  for _ in $(seq 50); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
  kill -KILL "$pid" 2>/dev/null || true
  { wait "$pid" || true; } 2>/dev/null
}

cleanup() {
  trap - EXIT INT TERM
  [ -z "$guest" ] || end_process "$guest" KILL
  [ -z "$plain" ] || end_process "$plain" TERM
  [ -z "$protected" ] || end_process "$protected" TERM
  ip netns del "$namespace" 2>/dev/null || true
  [ -z "$run" ] || [ -n "${QUINTAIN_GUEST_KEEP:-}" ] || rm -rf "$run"
}

make_namespace() {
  ip netns add "$namespace" 2>/dev/null || cannot "a network namespace cannot be made"
  ip -n "$namespace" link set lo up
  ip -n "$namespace" tuntap add dev tap0 mode tap 2>/dev/null || cannot "a tap device cannot be made"
  ip -n "$namespace" addr add "$host/24" dev tap0
  ip -n "$namespace" link set tap0 up
}

inside() { exec ip netns exec "$namespace" "$@"; }

make_disc() { # and the sum of what is on it
  mkdir -p "$run/disc"
  head -c 5000000 /dev/urandom >"$run/disc/data"
  genisoimage -quiet -R -V QUINTAIN -o "$run/disc.iso" "$run/disc"
  (cd "$run/disc" && sha256sum data) >"$run/share/disc.sum"
}

start_plain() {
  : >"$run/plain.json"
  inside "$quintain" serve "$run/disk.img" --size 512MiB --cdrom "$run/disc.iso" --listen "$host:3260" --name "$disk" \
    --driver "$driver" --json </dev/null >"$run/plain.json" 2>>"$run/plain.log" 9>&- &
  plain=$!
  await_line "$run/plain.json" "$plain" "$run/plain.log"
}

start_protected() {
  printf '%s' "$chap_secret" >"$run/chap.secret"
  printf '%s' "$mutual_secret" >"$run/mutual.secret"
  chmod 600 "$run"/*.secret
  inside "$quintain" serve "$run/secured.img" --size 64MiB --listen "$host:3261" --name "$secured" \
    --chap "$chap_user" --chap-secret-file "$run/chap.secret" \
    --mutual-chap "$mutual_user" --mutual-chap-secret-file "$run/mutual.secret" \
    --driver "$driver" --json </dev/null >"$run/protected.json" 2>>"$run/protected.log" 9>&- &
  protected=$!
  await_line "$run/protected.json" "$protected" "$run/protected.log"
}

await_line() { # FILE PID LOG: the one line that says the target listens
  for _ in $(seq 100); do
    [ ! -s "$1" ] || return 0
    kill -0 "$2" 2>/dev/null || break
    sleep 0.1
  done
  fail "the target did not start: $(tail -n 3 "$3" | tr '\n' ' ')"
}

administer() { tgtadm -C 88 --lld iscsi "$@"; }

start_peer() {
  command -v tgtd >/dev/null || cannot "package tgt is missing"
  truncate -s 512M "$run/disk.img"
  truncate -s 64M "$run/secured.img"
  inside tgtd -f -C 88 --iscsi "portal=$host:3260" </dev/null >"$run/plain.log" 2>&1 9>&- &
  plain=$!
  for _ in $(seq 50); do administer --op show --mode sys >/dev/null 2>&1 && break; sleep 0.1; done
  local id=1 name
  for name in "$disk" "$secured"; do
    administer --op new --mode target --tid $id -T "$name"
    administer --op new --mode logicalunit --tid $id --lun 1 -b "$run/$([ $id = 1 ] && echo disk || echo secured).img"
    administer --op update --mode logicalunit --tid $id --lun 1 --params thin_provisioning=1
    administer --op update --mode target --tid $id -n HeaderDigest -v CRC32C,None
    administer --op update --mode target --tid $id -n DataDigest -v CRC32C,None
    administer --op bind --mode target --tid $id -I ALL
    id=$((id + 1))
  done
  administer --op new --mode account --user "$chap_user" --password "$chap_secret"
  administer --op new --mode account --user "$mutual_user" --password "$mutual_secret"
  administer --op bind --mode account --tid 2 --user "$chap_user"
  administer --op bind --mode account --tid 2 --user "$mutual_user" --outgoing
}

write_command() {
  local lun=0 cdrom_lun=1 chap_portal=$host:3261 orders=/run-share algorithms='MD5 SHA1 SHA256 SHA3-256'
  [ -z "$peer" ] || { lun=1 cdrom_lun='' chap_portal=$host:3260 orders='' algorithms=MD5; }
  cp "$here/checks.sh" "$run/share/checks.sh"
  cat >"$run/share/command" <<END
export PORTAL=$host:3260 TARGET=$disk LUN=$lun CDROM_LUN=$cdrom_lun PEER=$peer ORDERS=$orders
export CHAP_PORTAL=$chap_portal CHAP_TARGET=$secured CHAP_LUN=$lun CHAP_ALGORITHMS='$algorithms'
export CHAP_USER=$chap_user CHAP_SECRET=$chap_secret MUTUAL_USER=$mutual_user MUTUAL_SECRET=$mutual_secret
exec bash /run-share/checks.sh
END
}

start_guest() {
  local memory=$run
  [ ! -w /dev/shm ] || memory=/dev/shm
  exec 5>&1
  TMPDIR=$memory HOME=$run ip netns exec "$namespace" unshare --pid --fork --kill-child --mount-proc \
    "$cache/kernel/linux" mem=512M ubd0="$run/cow,$cache/root.img" root=/dev/ubda rootfstype=ext4 rw \
    init=/sbin/quintain-guest-init share="$run/share" limit="$limit" address=10.88.0.2/24 \
    con=null con0=null,fd:4 ssl=null ssl0=null,fd:5 quiet random.trust_cpu=on \
    vec0:transport=tap,ifname=tap0,depth=128,gro=1 </dev/null 4>>"$run/console" >>"$run/console" 2>&1 9>&- &
  guest=$!
}

carry_out_orders() {
  [ -e "$run/share/order" ] || return 0
  kill -KILL "$plain"
  wait "$plain" 2>/dev/null || true
  start_plain
  mv "$run/share/order" "$run/share/order.done"
}

watch_guest() {
  local end=$((SECONDS + limit + 60))
  while kill -0 "$guest" 2>/dev/null && [ $SECONDS -lt $end ]; do
    carry_out_orders
    if [ -e "$run/share/status" ]; then # it writes out its last lines and powers off
      for _ in $(seq 50); do kill -0 "$guest" 2>/dev/null || break; sleep 0.1; done
      break
    fi
    sleep 0.1
  done
}

report() {
  local status=none
  [ ! -e "$run/share/status" ] || status=$(cat "$run/share/status")
  case $status in
    0) return 0 ;;
    none) echo "guest: it ended without a status; its console ends:" >&2; tail -n 20 "$run/console" >&2 || true ;;
    124) echo "guest: the checks did not end within $limit s" >&2 ;;
  esac
  tail -n 20 "$run"/*.log "$run/share/dmesg" >&2 2>/dev/null || true
  return 1
}

main() {
  while [ $# -gt 0 ]; do
    case $1 in
      --driver) driver=${2:?}; shift 2 ;;
      --peer) peer=yes; shift ;;
      *) sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    esac
  done
  [ "$(id -u)" = 0 ] || cannot "not root"
  [ -c /dev/net/tun ] || cannot "/dev/net/tun is missing"
  command -v ip >/dev/null || cannot "package iproute2 is missing"
  quintain=$(realpath -m "${QUINTAIN_BIN:-$here/../../target/release/quintain}")
  [ -n "$peer" ] || [ -x "$quintain" ] || fail "$quintain is missing: cargo build --release"
  "$here/build.sh" || exit $?
  mkdir -p "$cache/run"
  trap cleanup EXIT
  trap 'exit 130' INT TERM
  run=$(mktemp -d "$cache/run/XXXXXX")
  mkdir "$run/share"
  make_namespace
  if [ -n "$peer" ]; then start_peer; else make_disc; start_plain; start_protected; fi
  write_command
  start_guest
  watch_guest
  report
}
main "$@"
