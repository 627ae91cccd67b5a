#!/usr/bin/env bash
# Builds the guest that holds a real Linux kernel initiator, from Debian packages only, into the cache:
#   $cache/kernel/linux   Debian's user-mode-linux kernel, with its modules beside it
#   $cache/root.tar       a Debian root with open-iscsi, sg3-utils, e2fsprogs and udev
#   $cache/root.img       the same as an ext4 image with the kernel's modules and our init
# The cache is $QUINTAIN_GUEST_CACHE, by default ~/.cache/quintain-guest. Builds only what is missing or older than
# what it is made from. Needs root; exit 77 says in one line why it cannot be done here.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${QUINTAIN_GUEST_CACHE:-${HOME:-/root}/.cache/quintain-guest}
export PATH="$PATH:/usr/sbin:/sbin" DEBIAN_FRONTEND=noninteractive
began=$SECONDS
say() { echo "guest: +$((SECONDS - began))s $*" >&2; }
cannot() { echo "guest: cannot build the guest here: $*" >&2; exit 77; }

[ "$(id -u)" = 0 ] || cannot "not root"
command -v apt-get >/dev/null || cannot "apt-get is missing (the guest is made from Debian packages)"
[ "$(dpkg --print-architecture)" = amd64 ] || cannot "user-mode-linux is packaged for amd64 only"
mkdir -p "$cache"
exec 9>"$cache/.lock"
flock -w 600 9 || cannot "another build holds $cache/.lock"

updated=
refresh() { [ -n "$updated" ] || apt-get -qq update >&2 || cannot "apt-get update failed"; updated=1; }
missing=()
want() { command -v "$1" >/dev/null || missing+=("$2"); }
want mmdebstrap mmdebstrap
want depmod kmod
want mke2fs e2fsprogs
want genisoimage genisoimage
if [ ${#missing[@]} -gt 0 ]; then
  say "apt-get install ${missing[*]}"
  refresh
  apt-get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "${missing[@]}" >/dev/null ||
    cannot "apt-get install ${missing[*]} failed"
fi

release=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
[ -n "$release" ] || cannot "/etc/os-release names no release"
sources=/etc/apt/sources.list.d/debian.sources
[ -e "$sources" ] || sources=/etc/apt/sources.list

if [ ! -x "$cache/kernel/linux" ]; then
  say "kernel (package user-mode-linux)"
  refresh
  rm -rf "$cache/kernel.new"
  mkdir -p "$cache/kernel.new/deb"
  chmod 755 "$cache/kernel.new/deb"
  (cd "$cache/kernel.new/deb" && apt-get -qq -o APT::Sandbox::User=root download user-mode-linux >&2) ||
    cannot "package user-mode-linux cannot be downloaded"
  dpkg-deb -x "$cache"/kernel.new/deb/*.deb "$cache/kernel.new"
  mv "$cache/kernel.new/usr/bin/linux.uml" "$cache/kernel.new/linux"
  rm -rf "$cache/kernel.new/deb" "$cache/kernel"
  mv "$cache/kernel.new" "$cache/kernel"
  rm -f "$cache/root.img"
fi

packages=open-iscsi,sg3-utils,e2fsprogs,udev,kmod,mount,util-linux,iproute2,procps,busybox-static
if [ ! -e "$cache/root.tar" ] || [ "$(cat "$cache/root.packages" 2>/dev/null)" != "$release,$packages" ]; then
  say "root file system (mmdebstrap, $release)"
  mmdebstrap --quiet --variant=minbase --aptopt='Apt::Install-Recommends "false"' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --include="$packages" \
    "$release" "$cache/root.new.tar" "$sources" >&2 || cannot "mmdebstrap failed"
  mv "$cache/root.new.tar" "$cache/root.tar"
  echo "$release,$packages" >"$cache/root.packages"
  rm -f "$cache/root.img"
fi

if [ ! -e "$cache/root.img" ] || [ "$here/init" -nt "$cache/root.img" ]; then
  say "image"
  root=$cache/root.d
  rm -rf "$root"
  mkdir -p "$root"
  tar -C "$root" -xf "$cache/root.tar"
  mkdir -p "$root/lib/modules" "$root/run-share"
  cp -a "$cache"/kernel/usr/lib/uml/modules/* "$root/lib/modules/"
  for modules in "$root"/lib/modules/*; do depmod -b "$root" "${modules##*/}"; done
  install -m 755 "$here/init" "$root/sbin/quintain-guest-init"
  echo guest >"$root/etc/hostname"
  printf '127.0.0.1 localhost guest\n' >"$root/etc/hosts"
  echo 'InitiatorName=iqn.2026-11.org.example:guest' >"$root/etc/iscsi/initiatorname.iscsi"
  : >"$root/etc/fstab"
  mke2fs -q -t ext4 -O ^has_journal -m 0 -d "$root" "$cache/root.new.img" 2G
  mv "$cache/root.new.img" "$cache/root.img"
  rm -rf "$root"
fi
say "ready in $cache ($(du -sh "$cache" | cut -f1))"
