#!/usr/bin/env bash
# Installs what this build needs beside Python: a JDK, Maven and Android's command-line tools, from Debian or Ubuntu.
set -euo pipefail

# A program -> the package that has it.
declare -A packages=(
    [javac]=openjdk-17-jdk-headless [mvn]=maven [aapt]=aapt [aapt2]=aapt [apksigner]=apksigner [zipalign]=zipalign
    [enjarify]=enjarify [readelf]=binutils [zip]=zip [unzip]=unzip
)
framework=/usr/share/android-framework-res/framework-res.apk

missing=()
for program in "${!packages[@]}"; do
    command -v "$program" > /dev/null || missing+=("${packages[$program]}")
done
[ -e "$framework" ] || missing+=(android-framework-res)
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
    echo "android_demo/offline needs these packages: ${missing[*]}" >&2
    exit 1
fi
echo "installing ${missing[*]}"
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" > /dev/null
