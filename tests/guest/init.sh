#!/bin/sh
# Init of the test guest. What it does is chosen by lodge.test=… on the kernel command line; every step is a line that
# starts with LODGE-, so that the host can wait for it. Standard input and output are the kernel's console.
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
echo "LODGE-INIT kernel=$(uname -r) machine=$(uname -m) cpus=$(nproc) uptime=$(cut -d' ' -f1 /proc/uptime)"

mode=$(sed -n 's/.*lodge\.test=\([a-z]*\).*/\1/p' /proc/cmdline)

load_modules() {
  while read -r name; do
    # The graphics driver would take the text screen away, which some tests read.
    if [ "$name" = bochs ] && ! grep -q lodge.screen=graphics /proc/cmdline; then continue; fi
    insmod "/modules/$name.ko" || echo "LODGE-MODULE-FAILED $name"
  done </modules/order
}
wait_for() { # path, tenths of a second
  n=0
  while [ ! -e "$1" ] && [ $n -lt "$2" ]; do n=$((n + 1)); sleep 0.1; done
  [ -e "$1" ]
}
section() { echo "LODGE-BEGIN $1"; }
end() { echo "LODGE-END $1"; }

case "$mode" in
  report)
    load_modules
    # The mouse is probed in the background.
    if [ -d /sys/module/psmouse ]; then wait_for /sys/class/input/mouse0 30 || wait_for /sys/class/input/event1 1; fi
    # Errors and warnings of the kernel; busybox prints the level in front with -r.
    section dmesg; dmesg -r | sed -n 's/^<[0-4]>//p'; end dmesg
    section tty; cat /proc/tty/driver/serial; end tty
    section interrupts; cat /proc/interrupts; end interrupts
    section input; cat /proc/bus/input/devices; end input
    section pci; for d in /sys/bus/pci/devices/*; do echo "$(basename $d) $(cat $d/vendor) $(cat $d/device) $(cat $d/class)"; done; end pci
    section rtc; cat /sys/class/rtc/rtc0/name; cat /sys/class/rtc/rtc0/since_epoch; end rtc
    section memory; sed -n 's/MemTotal: *//p' /proc/meminfo; end memory
    section clocksource; cat /sys/devices/system/clocksource/clocksource0/current_clocksource; end clocksource
    ;;
  disk)
    load_modules
    if wait_for /dev/vda 50; then
      echo "LODGE-DISK sectors=$(cat /sys/block/vda/size)"
      echo "LODGE-DISK read=$(dd if=/dev/vda bs=64k 2>/dev/null | sha256sum | cut -d' ' -f1)"
      # A pattern over the second MiB, past the page cache in one direction and through it in the other.
      yes lodge-guest-wrote-this | head -c 1048576 | dd of=/dev/vda bs=64k seek=16 conv=fsync 2>/dev/null
      echo 3 >/proc/sys/vm/drop_caches
      echo "LODGE-DISK reread=$(dd if=/dev/vda bs=64k skip=16 count=16 2>/dev/null | sha256sum | cut -d' ' -f1)"
      echo "LODGE-DISK serial=$(cat /sys/block/vda/serial)"
    else
      echo "LODGE-DISK none"
    fi
    if [ -c /dev/hwrng ]; then echo "LODGE-RNG bytes=$(dd if=/dev/hwrng bs=64 count=4 iflag=fullblock 2>/dev/null | wc -c)"; fi
    ;;
  exit)
    # Port 0xf4 = 244: isa-debug-exit.
    printf '\x15' | dd of=/dev/port bs=1 seek=244 conv=notrunc 2>/dev/null
    echo "LODGE-EXIT ignored"
    ;;
  shell)
    load_modules
    echo "LODGE-SHELL"
    PS1='lodge# ' setsid sh -c 'exec sh -i </dev/console >/dev/console 2>&1'
    ;;
  idle)
    load_modules
    echo "LODGE-IDLE"
    while :; do sleep 3600; done
    ;;
  reboot)
    echo "LODGE-REBOOT"
    reboot -f
    ;;
  panic)
    echo c >/proc/sysrq-trigger
    ;;
esac
echo "LODGE-DONE"
poweroff -f
