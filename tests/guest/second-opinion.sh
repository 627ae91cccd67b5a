#!/usr/bin/env bash
# second-opinion.sh [LEVEL...] [ROW...]: the recovery scenarios (tests/interop/src/bin/recovery.rs) against LIO, the kernel's target, in
# the guest; a table on standard output. docs/internals/second-opinion.md says what came of it. LIO does not survive all of
# it: the guest is booted anew for the row at which it takes no login any more.
# The program is $QUINTAIN_RECOVERY, by default target/release/recovery (cargo build --release -p interop --bin recovery).
# Ends 77 with one line where it cannot run.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
cache=${QUINTAIN_GUEST_CACHE:-${HOME:-/root}/.cache/quintain-guest}
export PATH="$PATH:/usr/sbin:/sbin"
program=$(realpath -m "${QUINTAIN_RECOVERY:-$here/../../target/release/recovery}")
namespace=quintain-$$
target=iqn.2026-11.org.example:lio
guest=10.88.0.2
run= pid=

cannot() { echo "guest: cannot run here: $*" >&2; exit 77; }

end_guest() {
  [ -z "$pid" ] || kill -KILL "$pid" 2>/dev/null || true
  [ -z "$pid" ] || { wait "$pid" || true; } 2>/dev/null
  pid=
}

cleanup() {
  trap - EXIT INT TERM
  end_guest
  ip netns del "$namespace" 2>/dev/null || true
  [ -z "$run" ] || [ -n "${QUINTAIN_GUEST_KEEP:-}" ] || rm -rf "$run"
}

make_namespace() {
  ip netns add "$namespace" 2>/dev/null || cannot "a network namespace cannot be made"
  ip -n "$namespace" link set lo up
  ip -n "$namespace" tuntap add dev tap0 mode tap 2>/dev/null || cannot "a tap device cannot be made"
  ip -n "$namespace" addr add 10.88.0.1/24 dev tap0
  ip -n "$namespace" link set tap0 up
}

# LIO by configfs alone: a RAM disk for everybody, and what the scenarios ask for.
write_command() {
  cat >"$run/share/command" <<END
set -e
modprobe -a target_core_mod iscsi_target_mod
mount -t configfs none /sys/kernel/config 2>/dev/null || true
core=/sys/kernel/config/target/core/rd_mcp_0/disk
mkdir -p \$core
echo rd_pages=8192 >\$core/control
echo 1 >\$core/enable
tpg=/sys/kernel/config/target/iscsi/$target/tpgt_1
mkdir -p \$tpg/lun/lun_0
ln -s \$core \$tpg/lun/lun_0/disk
mkdir -p \$tpg/np/0.0.0.0:3260
for pair in authentication=0 generate_node_acls=1 cache_dynamic_acls=1 demo_mode_write_protect=0 default_erl=2; do
  echo \${pair#*=} >\$tpg/attrib/\${pair%=*}
done
for pair in ErrorRecoveryLevel=2 MaxConnections=4 MaxRecvDataSegmentLength=4096 DefaultTime2Wait=0 DefaultTime2Retain=20 \
  InitialR2T=No ImmediateData=Yes HeaderDigest=CRC32C,None DataDigest=CRC32C,None; do
  echo -n \${pair#*=} >\$tpg/param/\${pair%=*}
done
echo 1 >\$tpg/enable
dmesg -n 7
echo ready >/run-share/ready
sleep 3000
END
}

start_guest() {
  rm -f "$run/share/ready" "$run/cow" "$run/share/status"
  local memory=$run
  [ ! -w /dev/shm ] || memory=/dev/shm
  TMPDIR=$memory HOME=$run ip netns exec "$namespace" unshare --pid --fork --kill-child --mount-proc \
    "$cache/kernel/linux" mem=512M ubd0="$run/cow,$cache/root.img" root=/dev/ubda rootfstype=ext4 rw \
    init=/sbin/quintain-guest-init share="$run/share" limit=3000 address=$guest/24 \
    con=null con0=null,fd:4 ssl=null ssl0=null,fd:5 random.trust_cpu=on \
    vec0:transport=tap,ifname=tap0,depth=128,gro=1 </dev/null 4>>"$run/console" 5>>"$run/output" >>"$run/console" 2>&1 &
  pid=$!
  for _ in $(seq 600); do
    [ ! -e "$run/share/ready" ] || return 0
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.1
  done
  tail -n 20 "$run/console" "$run/output" >&2
  echo "guest: LIO does not start" >&2
  exit 1
}

panics() { grep -c 'Kernel panic' "$run/console" || true; }

main() {
  [ "$(id -u)" = 0 ] || cannot "not root"
  [ -c /dev/net/tun ] || cannot "/dev/net/tun is missing"
  command -v ip >/dev/null || cannot "package iproute2 is missing"
  [ -x "$program" ] || cannot "$program is missing: cargo build --release -p interop --bin recovery"
  "$here/build.sh" || exit $?
  mkdir -p "$cache/run"
  trap cleanup EXIT
  trap 'exit 130' INT TERM
  run=$(mktemp -d "$cache/run/XXXXXX")
  mkdir "$run/share"
  make_namespace
  write_command
  echo "| row | level | connections | exchange, fault and direction | came through | s |"
  echo "|---|---|---|---|---|---|"
  local skip=0 status=3 warnings before
  while [ $status = 3 ]; do
    start_guest
    before=$(panics)
    : >"$run/rows"
    status=0
    ip netns exec "$namespace" "$program" "$guest:3260" "$target" --skip "$skip" "$@" >"$run/rows" || status=$?
    cat "$run/rows"
    end_guest
    if [ "$(panics)" != "$before" ]; then
      echo "| | | | the guest's kernel panics: $(grep -A1 'Call Trace' "$run/console" | tail -n 1 | sed 's/^.*] *//; s/|//g') | | |"
    fi
    [ $status != 3 ] || [ ! -s "$run/rows" ] || skip=$(tail -n 1 "$run/rows" | cut -d'|' -f2 | tr -d ' ')
    [ $status != 3 ] || [ -s "$run/rows" ] || status=1
  done
  warnings=$(grep -c 'WARNING:' "$run/console" || true)
  echo
  echo "Kernel panics: $(panics); warnings of the kernel: $warnings."
  return $status
}
main "$@"
