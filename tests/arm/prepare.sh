#!/bin/sh
# prepare.sh FOLDER: an aarch64 Python with LiteRT in FOLDER, for qemu-user. Nothing is installed: the
# Debian packages are only unpacked, with a package state of their own.
set -eu
folder=$1
mkdir -p "$folder/apt/lists/partial" "$folder/apt/cache/archives/partial" "$folder/apt/parts" "$folder/root"
folder=$(cd "$folder" && pwd)
: > "$folder/apt/status"
cp /etc/apt/sources.list.d/*.sources "$folder/apt/parts/" 2>/dev/null || cp /etc/apt/sources.list "$folder/apt/parts/debian.list"
cat > "$folder/apt.conf" <<CONF
APT::Architecture "arm64";
APT::Architectures { "arm64"; };
Dir::State "$folder/apt";
Dir::State::status "$folder/apt/status";
Dir::Cache "$folder/apt/cache";
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "$folder/apt/parts";
CONF
export APT_CONFIG="$folder/apt.conf"
apt-get update -qq
apt-get install -y -qq --no-install-recommends --download-only \
	python3.11 libpython3.11-stdlib libstdc++6 libgcc-s1 > "$folder/apt.log"
for package in "$folder"/apt/cache/archives/*.deb; do dpkg -x "$package" "$folder/root"; done
