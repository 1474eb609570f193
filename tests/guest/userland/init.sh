#!/bin/sh
# Init of the guest that runs Debian's programs: their disk is the first one, the parts to run are on the kernel command line.
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc; mount -t devtmpfs dev /dev
while read -r name; do insmod "/modules/$name.ko"; done </modules/order
n=0
while [ ! -e /dev/vda ] && [ $n -lt 100 ]; do n=$((n + 1)); sleep 0.1; done
mount -t ext4 -o ro /dev/vda /mnt || poweroff -f
mount -t tmpfs tmp /mnt/tmp
mount -t proc proc /mnt/proc
mount --bind /dev /mnt/dev
parts=$(sed -n 's/.*lodge\.parts=\(\S*\).*/\1/p' /proc/cmdline | tr + ' ')
for part in $parts; do
  chroot /mnt /bin/sh /userland/run.sh $part
  echo "LODGE-TIME $part $(cut -d' ' -f1 /proc/uptime)"
done
echo "LODGE-DONE"
poweroff -f
