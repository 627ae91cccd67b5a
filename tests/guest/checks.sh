#!/bin/bash
# Runs in the guest: what a Linux host does with an iSCSI disk, through the kernel initiator (iscsid, iscsi_tcp, sd).
# From the environment (run.sh sets all of it):
#   PORTAL TARGET LUN                   a disk that asks for no authentication; its data is lost
#   CDROM_LUN                           a drive of the same target, whose disc has the file that disc.sum sums; empty: none
#   CHAP_PORTAL CHAP_TARGET CHAP_LUN    a disk that asks for CHAP; its data is lost
#   CHAP_USER CHAP_SECRET               the initiator's credentials
#   MUTUAL_USER MUTUAL_SECRET           the target's own, for mutual CHAP; empty: not tried
#   ORDERS                              a folder where an order to the host is written; empty: kill -9 is not tried
# Prints 'ok NAME' or 'not ok NAME: why' for each check, then 'N passed, N failed'; ends 0 only if none failed.
passed=0 failed=0
uptime_s() { cut -d' ' -f1 /proc/uptime; }
ok() { passed=$((passed + 1)); echo "ok $1 [$(uptime_s)s]"; }
not_ok() { failed=$((failed + 1)); echo "not ok $1: ${2:-} [$(uptime_s)s]"; }
check() { # NAME COMMAND...: the command must end 0
  local name=$1 output
  shift
  if output=$("$@" 2>&1); then ok "$name"; else not_ok "$name" "$(tail -n 3 <<<"$output" | tr '\n' ' ')"; return 1; fi
}
check_fails() { # NAME WANTED-TEXT COMMAND...: the command must fail and say the text
  local name=$1 text=$2 output
  shift 2
  if output=$("$@" 2>&1); then not_ok "$name" "it succeeded"; return 1; fi
  if grep -qi -- "$text" <<<"$output"; then ok "$name"; else not_ok "$name" "wanted '$text': $(tail -n 3 <<<"$output" | tr '\n' ' ')"; fi
}
node() { iscsiadm -m node -T "$1" -p "$2" "${@:3}"; }
setting() { node "$1" "$2" -o update -n "$3" -v "$4" >/dev/null; }
login() { node "$1" "$2" --login; }
logout() { node "$1" "$2" --logout; }
disk() { # TARGET PORTAL LUN: waits for the block device and prints its name
  local link=/dev/disk/by-path/ip-$2-iscsi-$1-lun-$3
  for _ in $(seq 100); do
    [ -b "$link" ] && { readlink -f "$link"; return 0; }
    sleep 0.1
  done
  echo "no $link" >&2
  return 1
}
# A logout while the kernel still reads the new disk's partition table makes it log "Buffer I/O error", with any target.
scanned_logout() { disk "$@" >/dev/null && udevadm settle; logout "$1" "$2"; }
gone() { for _ in $(seq 50); do [ -b "$1" ] || return 0; sleep 0.1; done; return 1; }

start_initiator() {
  modprobe iscsi_tcp
  sed -i 's/^node.startup.*/node.startup = manual/' /etc/iscsi/iscsid.conf
  iscsid
  for _ in $(seq 50); do iscsiadm -m session 2>&1 | grep -q 'No active' && return; sleep 0.1; done
}

discovery() {
  check discovery iscsiadm -m discovery -t sendtargets -p "$PORTAL" || return
  iscsiadm -m discovery -t sendtargets -p "$PORTAL" >/root/discovered 2>&1
  check discovery-names-the-target grep -q "^$PORTAL,[0-9]* $TARGET\$" /root/discovered
}

write_files() {
  local i
  for i in $(seq 16); do
    dd if=/dev/urandom of="/mnt/file$i" bs=64k count=$((i * 4)) conv=fsync status=none || return 1
  done
  cd /mnt && sha256sum file* >/root/sums
}
verify_files() { cd /mnt && sha256sum --quiet -c /root/sums; }

file_system() {
  local device
  check login login "$TARGET" "$PORTAL" || return
  device=$(disk "$TARGET" "$PORTAL" "$LUN") || { not_ok disk-appears; return; }
  ok disk-appears
  check mkfs-ext4 mkfs.ext4 -q -F "$device" || return
  check mount mount "$device" /mnt || return
  check write-files-fsync write_files
  cd /
  check fstrim fstrim /mnt
  check umount umount /mnt
  check logout logout "$TARGET" "$PORTAL"
  check disk-gone-after-logout gone "$device"
  check login-again login "$TARGET" "$PORTAL" || return
  device=$(disk "$TARGET" "$PORTAL" "$LUN") || { not_ok disk-appears-again; return; }
  check fsck-finds-nothing e2fsck -f -n "$device"
  check remount mount "$device" /mnt
  check files-verify verify_files
  cd /
  umount /mnt
  logout "$TARGET" "$PORTAL" >/dev/null
}

# Written and read back without the page cache.
write_and_compare() { # DEVICE MIB
  dd if=/dev/urandom of=/root/pattern bs=1M count="$2" status=none &&
    dd if=/root/pattern of="$1" bs=256k oflag=direct seek=16 status=none &&
    dd if="$1" bs=256k skip=16 count=$(($2 * 4)) iflag=direct status=none | cmp - /root/pattern
}
negotiated() { # KEY VALUE: as the kernel's session says
  iscsiadm -m session -P 2 | grep -q "$1: $2"
}

digests() {
  local header data name device
  for header in CRC32C None; do
    for data in CRC32C None; do
      [ $header$data != NoneNone ] || continue
      setting "$TARGET" "$PORTAL" 'node.conn[0].iscsi.HeaderDigest' $header
      setting "$TARGET" "$PORTAL" 'node.conn[0].iscsi.DataDigest' $data
      name=digest-header-$header-data-$data
      check $name-login login "$TARGET" "$PORTAL" || continue
      check $name-header-negotiated negotiated HeaderDigest $header
      check $name-data-negotiated negotiated DataDigest $data
      device=$(disk "$TARGET" "$PORTAL" "$LUN") && check $name-compare write_and_compare "$device" 16
      logout "$TARGET" "$PORTAL" >/dev/null
    done
  done
  setting "$TARGET" "$PORTAL" 'node.conn[0].iscsi.HeaderDigest' None
  setting "$TARGET" "$PORTAL" 'node.conn[0].iscsi.DataDigest' None
}

# No immediate data, every byte asked for by R2T, small bursts: the solicited path.
solicited_only() {
  local device
  setting "$TARGET" "$PORTAL" node.session.iscsi.ImmediateData No
  setting "$TARGET" "$PORTAL" node.session.iscsi.InitialR2T Yes
  setting "$TARGET" "$PORTAL" node.session.iscsi.MaxBurstLength 16384
  setting "$TARGET" "$PORTAL" node.session.iscsi.FirstBurstLength 8192
  if check solicited-only-login login "$TARGET" "$PORTAL"; then
    check solicited-only-initial-r2t negotiated InitialR2T Yes
    check solicited-only-immediate-data negotiated ImmediateData No
    device=$(disk "$TARGET" "$PORTAL" "$LUN") && check solicited-only-compare write_and_compare "$device" 8
    logout "$TARGET" "$PORTAL" >/dev/null
  fi
  setting "$TARGET" "$PORTAL" node.session.iscsi.ImmediateData Yes
  setting "$TARGET" "$PORTAL" node.session.iscsi.InitialR2T No
  setting "$TARGET" "$PORTAL" node.session.iscsi.MaxBurstLength 16776192
  setting "$TARGET" "$PORTAL" node.session.iscsi.FirstBurstLength 262144
}

chap() {
  local device algorithm
  local t=$CHAP_TARGET p=$CHAP_PORTAL
  node "$t" "$p" -o new >/dev/null
  setting "$t" "$p" node.session.initial_login_retry_max 1
  check_fails chap-without-credentials-is-refused 'authori[sz]ation' login "$t" "$p"
  setting "$t" "$p" node.session.auth.authmethod CHAP
  setting "$t" "$p" node.session.auth.username "$CHAP_USER"
  setting "$t" "$p" node.session.auth.password not-the-secret-99
  check_fails chap-wrong-secret-is-refused 'authori[sz]ation' login "$t" "$p"
  setting "$t" "$p" node.session.auth.password "$CHAP_SECRET"
  if check chap-login login "$t" "$p"; then
    device=$(disk "$t" "$p" "$CHAP_LUN") && check chap-compare write_and_compare "$device" 4
    logout "$t" "$p" >/dev/null
  fi
  if [ -n "$MUTUAL_USER" ]; then
    setting "$t" "$p" node.session.auth.username_in "$MUTUAL_USER"
    setting "$t" "$p" node.session.auth.password_in "$MUTUAL_SECRET"
    check mutual-chap-login login "$t" "$p" && scanned_logout "$t" "$p" "$CHAP_LUN" >/dev/null
    setting "$t" "$p" node.session.auth.password_in not-the-secret-88
    check_fails mutual-chap-wrong-target-secret-is-refused . login "$t" "$p" ||
      scanned_logout "$t" "$p" "$CHAP_LUN" >/dev/null
    setting "$t" "$p" node.session.auth.password_in "$MUTUAL_SECRET"
  fi
  for algorithm in ${CHAP_ALGORITHMS:-MD5}; do
    setting "$t" "$p" node.session.auth.chap_algs "$algorithm"
    check "chap-algorithm-$algorithm-login" login "$t" "$p" &&
      scanned_logout "$t" "$p" "$CHAP_LUN" >/dev/null
  done
}

# Every sg3-utils call must end 0. The unmap and write-same calls wipe the disk's first blocks.
scsi_commands() {
  local device status
  check sg-login login "$TARGET" "$PORTAL" || return
  device=$(disk "$TARGET" "$PORTAL" "$LUN") || { not_ok sg-disk-appears; return; }
  local vpd
  check sg-inquiry sg_inq "$device"
  for vpd in 0x00 0x80 0x83 0xb0 0xb1 0xb2; do check "sg-vpd-$vpd" sg_vpd -p $vpd "$device"; done
  check sg-read-capacity-16 sg_readcap -l "$device"
  check sg-report-luns sg_luns "$device"
  check sg-test-unit-ready sg_turs "$device"
  check sg-request-sense sg_requests "$device"
  check sg-mode-sense-10 sg_modes -a "$device"
  check sg-mode-sense-6 sg_modes -6 -a "$device"
  check sg-synchronize-cache sg_sync "$device"
  check sg-verify sg_verify --count=8 "$device"
  check sg-write-same-16-unmap sg_write_same --16 --unmap --lba=64 --num=64 --xferlen=512 --in=/dev/zero "$device"
  check sg-unmap sg_unmap --lba=0 --num=64 --force "$device"
  if [ -z "${PEER:-}" ]; then # what the peer target lacks
    check sg-vpd-0x86 sg_vpd -p 0x86 "$device"
    check sg-report-target-port-groups sg_rtpg -d "$device"
    check sg-report-opcodes sg_opcodes "$device"
    head -c 512 /dev/zero >old
    head -c 512 /dev/urandom >new
    cat old new >compare
    check sg-compare-and-write sg_compare_and_write --in=compare --lba=64 --num=1 --xferlen=1024 "$device"
    # Now the block holds `new`: the same command must miscompare, for which sg3-utils' status is 14.
    sg_compare_and_write --in=compare --lba=64 --num=1 --xferlen=1024 "$device" >/dev/null 2>&1
    status=$?
    if [ $status = 14 ]; then ok sg-compare-and-write-miscompare; else not_ok sg-compare-and-write-miscompare "status $status"; fi
  fi
  check sg-lu-reset sg_reset -d "$device"
  sg_turs "$device" >/dev/null 2>&1 # takes the unit attention of the reset
  check sg-ready-after-reset sg_turs "$device"
  logout "$TARGET" "$PORTAL" >/dev/null
}

status_is() { # NAME STATUS COMMAND...: sg3-utils' own exit statuses
  local name=$1 wanted=$2 status=0 output
  shift 2
  output=$("$@" 2>&1) || status=$?
  if [ $status = "$wanted" ]; then ok "$name"; else not_ok "$name" "status $status: $(tail -n 3 <<<"$output" | tr '\n' ' ')"; fi
}
prints() { # NAME TEXT COMMAND...: the command must end 0 and print the text
  local name=$1 text=$2 output
  shift 2
  if output=$("$@" 2>&1) && grep -q -- "$text" <<<"$output"; then ok "$name"; else
    not_ok "$name" "wanted '$text': $(tail -n 3 <<<"$output" | tr '\n' ' ')"
  fi
}

# What the rest of sg3-utils reads and does. Wipes the disk's first blocks.
more_scsi_commands() {
  local device key=0x1234
  check sg3-login login "$TARGET" "$PORTAL" || return
  device=$(disk "$TARGET" "$PORTAL" "$LUN") || { not_ok sg3-disk-appears; return; }
  check sg3-vpd-all sg_vpd -a "$device"
  prints sg3-inquiry-is-a-disk 'PDT=0' sg_inq -d "$device"
  check sg3-logs-all sg_logs -a "$device"
  check sg3-modes-all-pages sg_modes -a -a "$device"
  prints sg3-opcodes-with-masks 'Compare and write' sg_opcodes --mask "$device"
  prints sg3-opcode-of-one '28' sg_opcodes --opcode=0x28 "$device"
  # Persistent reservations: register, reserve, see it, release, and be gone.
  check sg3-persist-register sg_persist --out --register --param-sark=$key "$device"
  prints sg3-persist-keys "$key" sg_persist --in --read-keys "$device"
  check sg3-persist-reserve sg_persist --out --reserve --param-rk=$key --prout-type=5 "$device"
  prints sg3-persist-reservation 'Write Exclusive, registrants only' sg_persist --in --read-reservation "$device"
  check sg3-persist-full-status sg_persist --in --read-full-status "$device"
  check sg3-persist-capabilities sg_persist --in --report-capabilities "$device"
  check sg3-persist-release sg_persist --out --release --param-rk=$key --prout-type=5 "$device"
  check sg3-persist-clear sg_persist --out --clear --param-rk=$key "$device"
  # Provisioning.
  check sg3-write-blocks dd if=/dev/urandom of="$device" bs=1M count=1 oflag=direct status=none
  prints sg3-lba-status-is-mapped 'mapped' sg_get_lba_status --lba=0 "$device"
  check sg3-unmap sg_unmap --lba=1024 --num=1024 --force "$device"
  prints sg3-lba-status-is-deallocated 'deallocated' sg_get_lba_status --lba=1024 "$device"
  prints sg3-capacity-is-thin 'lbpme=1' sg_readcap -l "$device"
  check sg3-write-same-10 sg_write_same --10 --lba=2048 --num=16 --xferlen=512 --in=/dev/zero "$device"
  check sg3-write-same-ndob sg_write_same --16 --ndob --lba=2048 --num=16 "$device"
  # A copy by the disk itself, and the same bytes at the other end.
  check sg3-xcopy sg_xcopy if="$device" of="$device" skip=0 seek=4096 count=512 bs=512 verbose=0
  dd if="$device" of=/root/from bs=512 count=512 iflag=direct status=none
  dd if="$device" of=/root/to bs=512 count=512 skip=4096 iflag=direct status=none
  check sg3-xcopy-compares cmp /root/from /root/to
  check sg3-copy-operating-parameters sg_copy_results --params "$device"
  # Access states, of one group that has one for ever.
  prints sg3-target-port-groups 'active/optimized' sg_rtpg -d "$device"
  prints sg3-target-port-groups-extended 'target port group' sg_rtpg -e -d "$device"
  check sg3-verify-data sg_verify --count=64 --lba=0 "$device"
  check sg3-read-buffer-descriptor sg_read_buffer --mode=0xb --length=4 "$device"
  check sg3-self-test sg_senddiag --test "$device"
  check sg3-report-timestamp sg_timestamp "$device"
  status_is sg3-read-beyond-the-end-is-refused 22 sg_verify --16 --lba=0x7fffffffffff --count=1 "$device"
  check sg3-format-fast sg_format --format --ffmt=1 --quick --early "$device"
  check sg3-format sg_format --format --quick --early "$device"
  check sg3-ready-after-format sg_turs "$device"
  logout "$TARGET" "$PORTAL" >/dev/null
}

on_disc() { (cd "$1" && sha256sum --quiet -c /run-share/disc.sum); }

# A CD as the kernel's sr has it.
cdrom() {
  local device
  modprobe -a sr_mod isofs
  check cdrom-login login "$TARGET" "$PORTAL" || return
  device=$(disk "$TARGET" "$PORTAL" "$CDROM_LUN") || { not_ok cdrom-appears; return; }
  case $device in /dev/sr*) ok cdrom-is-of-sr ;; *) not_ok cdrom-is-of-sr "$device" ;; esac
  check cdrom-mount mount -t iso9660 -o ro "$device" /mnt || return
  check cdrom-file-verifies on_disc /mnt
  # sr has locked the door.
  status_is cdrom-eject-while-mounted-is-refused 5 sg_start --eject "$device"
  check cdrom-umount umount /mnt
  prints cdrom-configuration 'CD-ROM' sg_get_config "$device"
  check cdrom-modes sg_modes -a "$device"
  check cdrom-vpd sg_vpd -a "$device"
  # udev keeps it locked, too.
  check cdrom-allow-removal sg_prevent --allow "$device"
  check cdrom-eject sg_start --eject "$device"
  status_is cdrom-is-not-ready-when-ejected 2 sg_turs "$device"
  check cdrom-load sg_start --load "$device"
  sg_turs "$device" >/dev/null 2>&1 # takes the unit attention of the medium
  check cdrom-is-ready-when-loaded sg_turs "$device"
  check cdrom-mount-again mount -t iso9660 -o ro "$device" /mnt && check cdrom-file-verifies-again on_disc /mnt
  umount /mnt
  check_fails cdrom-cannot-be-written . dd if=/dev/zero of="$device" bs=2048 count=1 oflag=direct
  logout "$TARGET" "$PORTAL" >/dev/null
}

# The target's process is killed and started again under a file system that is being written: fsync'd files must be there.
kill9() {
  local device writer
  setting "$TARGET" "$PORTAL" node.session.timeo.replacement_timeout 60
  check kill9-login login "$TARGET" "$PORTAL" || return
  device=$(disk "$TARGET" "$PORTAL" "$LUN") || { not_ok kill9-disk-appears; return; }
  check kill9-mkfs mkfs.ext4 -q -F "$device" && check kill9-mount mount "$device" /mnt || return
  write_files & writer=$!
  sleep 0.5
  echo kill9 >"$ORDERS/order.new" && mv "$ORDERS/order.new" "$ORDERS/order"
  if wait $writer; then ok kill9-writer-saw-no-error; else not_ok kill9-writer-saw-no-error; fi
  check kill9-order-was-carried-out test -e "$ORDERS/order.done"
  cd /
  umount /mnt && logout "$TARGET" "$PORTAL" >/dev/null && login "$TARGET" "$PORTAL" >/dev/null
  device=$(disk "$TARGET" "$PORTAL" "$LUN") || { not_ok kill9-disk-appears-again; return; }
  check kill9-fsck-finds-nothing e2fsck -f -n "$device"
  check kill9-remount mount "$device" /mnt
  check kill9-files-verify verify_files
  cd /
  umount /mnt
  logout "$TARGET" "$PORTAL" >/dev/null
}

kernel_is_content() { ! dmesg | grep -E 'WARNING|BUG:|Call Trace|hung task|EXT4-fs error|Buffer I/O error'; }

cd /root || exit 1
start_initiator
discovery
file_system
digests
solicited_only
[ -z "${CHAP_TARGET:-}" ] || chap
scsi_commands
[ -n "${PEER:-}" ] || more_scsi_commands
[ -z "${CDROM_LUN:-}" ] || cdrom
[ -z "${ORDERS:-}" ] || kill9
check kernel-log-has-no-errors kernel_is_content
echo "$passed passed, $failed failed"
[ $failed = 0 ]
