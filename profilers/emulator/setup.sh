#!/bin/sh
# Makes a phone for tests in FOLDER; see README.md. Usage: setup.sh FOLDER
set -eu
[ $# = 1 ] || { echo "usage: $0 FOLDER" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
target=$(cd "$1" && pwd)
suite=trixie # the first Debian with adbd

# what is nasc's own is made anew when it changed; what was fetched stays
stamp=$(cat "$here/setup.sh" "$here/loopback.c" "$here"/bin/* | sha256sum)
[ "$(cat "$target/complete" 2>/dev/null)" = "$stamp" ] && exit 0

apt_options="-o Dir::State=$target/apt/state -o Dir::State::status=$target/apt/status -o Dir::Cache=$target/apt/cache
  -o Dir::Etc::sourcelist=$target/apt/sources.list -o Dir::Etc::sourceparts=/dev/null
  -o APT::Sandbox::User=root -o Acquire::Languages=none -o Debug::NoLocking=1"

fetch_packages() {
  mkdir -p "$target/apt/state/lists/partial" "$target/apt/cache/archives/partial" "$target/root"
  : > "$target/apt/status"
  site=$(apt-get indextargets --format '$(SITE) $(CODENAME)' 'Created-By: Packages' |
    awk '/debian [a-z]+$/ && !/security/ {print $1; exit}')
  keys=/usr/share/keyrings/debian-archive-keyring.gpg
  echo "deb [arch=amd64 signed-by=$keys] $site $suite main" > "$target/apt/sources.list"
  apt-get $apt_options -qq update
  apt-get $apt_options -qq -y --download-only --no-install-recommends install adbd adb dropbear-bin qemu-user > /dev/null
  for package in "$target"/apt/cache/archives/*.deb; do dpkg-deb -x "$package" "$target/root"; done
  rm -rf "$target/apt"
}

# A program of that Debian, started with its own libraries: write_starter NAME PATH [ENVIRONMENT]
write_starter() {
  libraries=$target/root/usr/lib/x86_64-linux-gnu
  cat > "$target/$1" <<END
#!/bin/sh
exec env ${3:-} $libraries/ld-linux-x86-64.so.2 --library-path $libraries/android:$libraries $target/root/usr/$2 "\$@"
END
  chmod +x "$target/$1"
}

write_phone() {
  cat > "$target/phone" <<END
#!/bin/sh
# Starts a phone in the foreground: phone PORT HOME
mkdir -p "\$2/state" "\$2/tmp"
export ADBD_PORT="\$1" PHONE_HOME="\$2" NASC_FOLDER="\$2/tmp/nasc" PATH="$target/bin:\$PATH"
export NASC_EMULATOR="\${NASC_EMULATOR-$target/root/usr/bin/qemu-aarch64 -cpu cortex-a76}"
exec $target/adbd
END
  chmod +x "$target/phone"
}

if [ ! -e "$target/fetched" ]; then
  fetch_packages
  touch "$target/fetched"
fi
gcc -O1 -shared -fPIC -o "$target/loopback.part" "$here/loopback.c" -ldl
mv "$target/loopback.part" "$target/loopback.so"
mkdir -p "$target/bin" && cp "$here"/bin/* "$target/bin/"
write_starter adbd lib/android-sdk/platform-tools/adbd "LD_PRELOAD=$target/loopback.so"
write_starter adb lib/android-sdk/platform-tools/adb
write_starter dropbear sbin/dropbear
write_starter dropbearkey bin/dropbearkey
write_phone
echo "$stamp" > "$target/complete"
