#!/bin/sh
# arm.sh FOLDER SCRIPT ARGUMENT...: runs a Python script as on a Cortex-A76, on what prepare.sh and pip
# put in FOLDER (root, site).
#
# The processor is named, since LiteRT gives wrong numbers on qemu's default one. And LiteRT reads
# /sys to learn of the processor: the host's would kill it, none would make it choose other kernels,
# so for this process alone, in a mount namespace of its own, /sys shows one core.
set -eu
export FOLDER="$1"
shift
exec unshare -m sh -c '
	mount -t tmpfs none /sys
	cpu=/sys/devices/system/cpu
	mkdir -p $cpu/cpu0/topology $cpu/cpu0/cpufreq
	for file in possible present online \
		cpu0/topology/core_siblings_list cpu0/topology/package_cpus_list cpu0/topology/cluster_cpus_list \
		cpu0/topology/thread_siblings_list cpu0/topology/core_cpus_list \
		cpu0/topology/physical_package_id cpu0/topology/core_id cpu0/topology/cluster_id
	do echo 0 > $cpu/$file; done
	QEMU_LD_PREFIX="$FOLDER/root" PYTHONPATH="$FOLDER/site" \
		exec qemu-aarch64-static -cpu cortex-a76 "$FOLDER/root/usr/bin/python3.11" "$@"
' sh "$@"
