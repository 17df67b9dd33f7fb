#!/bin/sh
# Builds the guest image that stands where the guide has alpine.iso: a 100 MiB disk that boots from
# BIOS into Debian's cloud kernel with busybox as its whole system, dropbear, and a page on port 80.
# It is made from Debian's packages alone, without root and without mounting anything.
#
#   tools/guest_image.sh [OUTPUT]      default: out/guest/alpine.img
#
# Needs: busybox-static mtools syslinux syslinux-common cpio zstd (tools/install_prerequisites.sh).
# Downloads, into out/guest/cache: the newest linux-image-…-cloud-amd64 and dropbear-bin with its
# libraries. A second run with the same inputs keeps the image.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
output=${1:-$here/out/guest/alpine.img}
files=$here/tools/guest_image
work=$here/out/guest
cache=$work/cache
size_bytes=104857600
first_sector=2048
sectors=$((size_bytes / 512 - first_sector))
# Kernel modules that are loaded at boot, with whatever they need.
modules='virtio_pci virtio_blk virtio_net virtio-rng nvme vfat nls_cp437 nls_ascii nls_iso8859-1 button evdev af_packet'
export LC_ALL=C
umask 022

fail() { printf 'guest_image: %s\n' "$*" >&2; exit 1; }

[ "$(uname -m)" = x86_64 ] || fail "guests are x86_64, this machine is $(uname -m)"
command -v apt-get >/dev/null 2>&1 || fail 'needs a Debian machine: the image is made of its packages'
for tool in busybox mformat mcopy syslinux cpio zstd dpkg-deb readelf; do
  command -v "$tool" >/dev/null 2>&1 ||
    fail "$tool is missing: run tools/install_prerequisites.sh"
done
mbr=/usr/lib/syslinux/mbr/mbr.bin
[ -r "$mbr" ] || fail "$mbr is missing: install syslinux-common"

mkdir -p "$cache"
# apt drops its privileges for downloads; the cache must let it in.
chmod 755 "$work" "$cache"

newest_kernel() {
  apt-cache depends linux-image-cloud-amd64 2>/dev/null |
    sed -n 's/.*Depends: \(linux-image-[0-9].*-cloud-amd64\)$/\1/p' | head -n 1
}
# Puts every package into the cache and names their versions in the manifest.
download() {
  kernel=$(newest_kernel)
  [ -n "$kernel" ] || return 1
  packages="$kernel dropbear-bin libtomcrypt1 libtommath1 libcrypt1 zlib1g libc6 libgmp10"
  : >"$work/manifest.next"
  for package in $packages; do
    version=$(apt-cache policy "$package" | sed -n 's/^  Candidate: //p')
    # apt writes the epoch's colon as %3a.
    name="${package}_$(printf '%s' "$version" | sed 's/:/%3a/g')_amd64.deb"
    if [ ! -s "$cache/$name" ]; then
      rm -f "$cache/${package}"_*.deb
      (cd "$cache" && apt-get download -qq "$package=$version" >/dev/null 2>"$work/apt.log") ||
        return 1
    fi
    printf '%s %s\n' "$package" "$version" >>"$work/manifest.next"
  done
}
: >"$work/apt.log"
# Lists that are missing or old are the usual reason for a failure: fetch them and try once more.
download || { [ "$(id -u)" -eq 0 ] && apt-get update -qq && download; } ||
  fail "the packages cannot be downloaded (no network, or old lists: run apt-get update): $(tail -n 1 "$work/apt.log")"

inputs=$( (cat "$work/manifest.next" "$0" "$files"/*; busybox --help | head -n 1; echo "$output") |
  sha256sum | cut -d ' ' -f 1)
if [ -s "$output" ] && [ "$(cat "$output.inputs" 2>/dev/null)" = "$inputs" ]; then
  printf 'guest_image: %s is up to date\n' "$output"
  exit 0
fi

build=$(mktemp -d "$work/build.XXXXXX")
trap 'rm -rf "$build"' EXIT
trap 'exit 130' INT TERM
packages_root=$build/packages
root=$build/root
mkdir -p "$packages_root" "$root"
for package in $packages; do
  dpkg-deb -x "$cache/${package}"_*.deb "$packages_root"
done

# --- The system: busybox, dropbear and its libraries, our few files.
mkdir -p "$root/bin" "$root/dev" "$root/etc/acpi/PWRF" "$root/etc/dropbear" "$root/lib64" \
  "$root/mnt" "$root/proc" "$root/root/.ssh" "$root/run" "$root/sys" "$root/tmp" "$root/usr/lib" \
  "$root/var/log" "$root/www"
ln -s bin "$root/sbin"
cp "$(command -v busybox)" "$root/bin/busybox"
busybox --list | while read -r applet; do
  [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
done
cp "$packages_root/usr/sbin/dropbear" "$root/bin/dropbear"

find_library() { find "$packages_root" -name "$1" \( -type f -o -type l \) | head -n 1; }
copy_libraries() {
  for library in $(readelf -d "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'); do
    [ ! -e "$root/usr/lib/$library" ] || continue
    found=$(find_library "$library")
    [ -n "$found" ] || fail "$library, which $(basename "$1") needs, is in none of the packages"
    cp -L "$found" "$root/usr/lib/$library"
    copy_libraries "$found"
  done
}
copy_libraries "$root/bin/dropbear"
cp -L "$(find_library ld-linux-x86-64.so.2)" "$root/lib64/ld-linux-x86-64.so.2"

cp "$files/init" "$root/init"
cp "$files/rc" "$root/etc/rc"
cp "$files/inittab" "$root/etc/inittab"
cp "$files/udhcpc" "$root/etc/udhcpc"
cp "$files/strings.awk" "$root/etc/strings.awk"
printf '#!/bin/sh\npoweroff\n' >"$root/etc/acpi/PWRF/00000080"
chmod 755 "$root/init" "$root/etc/rc" "$root/etc/udhcpc" "$root/etc/acpi/PWRF/00000080"
chmod 700 "$root/root" "$root/root/.ssh"
printf 'root::0:0:root:/root:/bin/sh\n' >"$root/etc/passwd"
printf 'root:x:0:\n' >"$root/etc/group"
printf '/bin/sh\n' >"$root/etc/shells"
printf '/usr/lib\n' >"$root/etc/ld.so.conf"
printf 'Luge guest, kernel \\r\n\n' >"$root/etc/issue"

# --- Kernel modules.
version=${kernel#linux-image-}
tree=$packages_root/lib/modules/$version
[ -d "$tree" ] || tree=$packages_root/usr/lib/modules/$version
[ -d "$tree" ] || fail "$kernel holds no modules for $version"
target=$root/usr/lib/modules/$version
mkdir -p "$target"
ln -s usr/lib "$root/lib"
module_path() { find "$tree" -name "$1.ko" -o -name "$(printf '%s' "$1" | tr _ -).ko" | head -n 1; }
copy_module() {
  path=$(module_path "$1")
  # What is built into the kernel has no file.
  [ -n "$path" ] || return 0
  [ ! -e "$target/$(basename "$path")" ] || return 0
  cp "$path" "$target/"
  for needed in $(strings_of "$path" depends | tr ',' ' '); do copy_module "$needed"; done
}
strings_of() { tr '\0' '\n' <"$1" | sed -n "s/^.*$2=//p" | head -n 1; }
for module in $modules; do copy_module "$module"; done
busybox depmod -b "$root" "$version" 2>/dev/null || true
printf '%s\n' "$modules" >"$root/etc/modules"

# --- One disk: a boot sector, one FAT partition with syslinux, kernel and initramfs.
find "$root" -exec touch -h -d @0 {} +
(cd "$root" && find . | sort | cpio --quiet -o -H newc --reproducible --owner 0:0) |
  zstd -q -6 -T2 >"$build/initrd"
vmlinuz=$(find "$packages_root/boot" -name "vmlinuz-$version")
image=$build/image
truncate -s "$size_bytes" "$image"
dd if="$mbr" of="$image" bs=440 count=1 conv=notrunc status=none
octets() { # little-endian bytes of a 32-bit number, as octal escapes
  printf '\\%03o\\%03o\\%03o\\%03o' $(($1 & 255)) $(($1 >> 8 & 255)) $(($1 >> 16 & 255)) \
    $(($1 >> 24 & 255))
}
# Bootable, type FAT16 with LBA; cylinders are long past counting.
entry="\\200\\376\\377\\377\\016\\376\\377\\377$(octets $first_sector)$(octets $sectors)"
# shellcheck disable=SC2059 # the escapes are the data
printf "$entry" | dd of="$image" bs=1 seek=446 conv=notrunc status=none
printf '\125\252' | dd of="$image" bs=1 seek=510 conv=notrunc status=none
offset=$((first_sector * 512))
export MTOOLS_SKIP_CHECK=1 SOURCE_DATE_EPOCH=0
mformat -i "$image@@$offset" -T "$sectors" -h 64 -s 32 -H "$first_sector" -N 6c756765 -v LUGE ::
cat >"$build/syslinux.cfg" <<'EOF'
DEFAULT guest
PROMPT 0
TIMEOUT 0
LABEL guest
  KERNEL vmlinuz
  INITRD initrd
  APPEND console=ttyS0,115200 quiet loglevel=3 panic=5 net.ifnames=0
EOF
touch -d @0 "$build/syslinux.cfg" "$build/initrd"
cp "$vmlinuz" "$build/vmlinuz"
touch -d @0 "$build/vmlinuz"
mcopy -m -i "$image@@$offset" "$build/vmlinuz" "$build/initrd" "$build/syslinux.cfg" ::
syslinux --offset "$offset" --install "$image"

mkdir -p "$(dirname "$output")"
mv "$image" "$output"
mv "$work/manifest.next" "$output.manifest"
printf '%s\n' "$inputs" >"$output.inputs"
printf 'guest_image: made %s\n' "$output"
