#!/bin/busybox sh
# Init of the race's guests: the drivers of the disk, then the workloads.
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev 2>/dev/null
exec </dev/console >/dev/console 2>&1
mount -t tmpfs -o size=80% tmp /tmp
/race/ubench mark RACE-BOOTED
while read -r name; do insmod "/modules/$name.ko"; done </modules/order 2>/dev/null
n=0
while [ ! -b /dev/vda ] && [ $n -lt 50 ]; do n=$((n + 1)); sleep 0.1; done
RACE_DISK=/dev/vda RACE_ONLY=$(sed -n 's/.*race\.only=\([^ ]*\).*/\1/p' /proc/cmdline) sh /race/workloads.sh
poweroff -f
