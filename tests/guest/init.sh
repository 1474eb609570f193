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

load_modules() { # order file
  while read -r name; do
    # The graphics driver would take the text screen away, which some tests read.
    if [ "$name" = bochs ] && ! grep -q lodge.screen=graphics /proc/cmdline; then continue; fi
    insmod "/modules/$name.ko" || echo "LODGE-MODULE-FAILED $name"
  done <"/modules/${1:-order}"
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
      blkdiscard -o 4194304 -l 2097152 /dev/vda; echo "LODGE-DISCARD code=$?"
      echo "LODGE-DISK serial=$(cat /sys/block/vda/serial)"
    else
      echo "LODGE-DISK none"
    fi
    if [ -c /dev/hwrng ]; then echo "LODGE-RNG bytes=$(dd if=/dev/hwrng bs=64 count=4 iflag=fullblock 2>/dev/null | wc -c)"; fi
    ;;
  storage)
    # Disks behind IDE and AHCI, a disc that comes and goes, floppies. What is there is the host's choice; each is told.
    load_modules
    load_modules storage
    wait_for /dev/sr0 100
    for name in sda sdb; do wait_for /dev/$name 20 || break; done
    for path in /sys/block/sd* /sys/block/sr* /sys/block/fd*; do
      [ -e "$path" ] || continue
      name=$(basename "$path")
      echo "LODGE-STORAGE $name sectors=$(cat "$path/size") driver=$(basename "$(readlink "$path/device/../../../driver" || readlink "$path/device/../../../../driver")") model=$(cat "$path/device/model" 2>/dev/null)"
    done
    for name in sda sdb; do
      [ -b /dev/$name ] || continue
      echo "LODGE-DISK $name read=$(dd if=/dev/$name bs=64k 2>/dev/null | sha256sum | cut -d' ' -f1)"
      yes lodge-guest-wrote-this | head -c 1048576 | dd of=/dev/$name bs=64k seek=16 conv=fsync 2>/dev/null
      echo 3 >/proc/sys/vm/drop_caches
      echo "LODGE-DISK $name reread=$(dd if=/dev/$name bs=64k skip=16 count=16 2>/dev/null | sha256sum | cut -d' ' -f1)"
    done
    if [ -b /dev/fd0 ]; then
      echo "LODGE-FLOPPY read=$(dd if=/dev/fd0 bs=512 2>/dev/null | sha256sum | cut -d' ' -f1)"
      yes lodge-guest-wrote-this | head -c 36864 | dd of=/dev/fd0 bs=512 seek=72 conv=fsync 2>/dev/null
      echo "LODGE-FLOPPY written=$?"
    fi
    echo 500 >/sys/module/block/parameters/events_dfl_poll_msecs
    disc() {
      if mount -t iso9660 -o ro /dev/sr0 /mnt 2>/dev/null; then
        echo "LODGE-DISC label=$(dd if=/dev/sr0 bs=1 skip=32808 count=32 2>/dev/null | tr -d ' ') file=$(cat /mnt/HELLO.TXT /mnt/hello.txt 2>/dev/null)"
        umount /mnt
      else
        echo "LODGE-DISC none"
      fi
    }
    disc
    if [ -b /dev/sr0 ] && [ "$(cat /sys/block/sr0/size)" != 0 ] && grep -q lodge.eject /proc/cmdline; then
      # The kernel notices a change by itself and says so to user space, once until somebody has looked at the drive.
      cat >/tmp/media <<'HANDLER'
#!/bin/sh
[ "$DISK_MEDIA_CHANGE" = 1 ] && echo "LODGE-UEVENT $ACTION $DEVNAME DISK_MEDIA_CHANGE=1" >/dev/console && touch /tmp/changed
exit 0
HANDLER
      chmod +x /tmp/media
      uevent /tmp/media &
      sleep 1
      eject /dev/sr0; echo "LODGE-EJECTED code=$?"
      n=0
      while [ $n -lt 600 ]; do
        if [ -e /tmp/changed ]; then
          rm /tmp/changed
          [ "$(dd if=/dev/sr0 bs=2048 count=1 2>/dev/null | wc -c)" = 0 ] || break
        fi
        n=$((n + 1))
        sleep 0.1
      done
      disc
      mount -t iso9660 -o ro /dev/sr0 /mnt && echo "LODGE-LOCKED"
      sleep 1
      read -r answer </dev/console
      umount /mnt
      echo "LODGE-UNLOCKED"
    fi
    section dmesg; dmesg -r | sed -n 's/^<[0-4]>//p'; end dmesg
    ;;
  graphics)
    # Whatever adapter there is gets its driver. A picture is drawn, and each size the monitor takes later is told.
    load_modules
    load_modules graphics
    wait_for /dev/fb0 100
    modes=$(echo /sys/class/drm/card0-*/modes)
    screen() {
      echo "LODGE-SCREEN driver=$(cat /sys/class/graphics/fb0/name) mode=$(head -n 1 "$modes") fb=$(cat /sys/class/graphics/fb0/virtual_size) depth=$(cat /sys/class/graphics/fb0/bits_per_pixel)"
    }
    screen
    # With the console away from it: 200 lines of red, 200 of green.
    echo 0 >/sys/class/vtconsole/vtcon1/bind
    width=$(cut -d, -f1 /sys/class/graphics/fb0/virtual_size)
    fill() { # a pixel, lines
      printf "$1" >/tmp/a
      size=4
      while [ $size -lt $((width * 4 * $2)) ]; do
        cat /tmp/a /tmp/a >/tmp/b
        mv /tmp/b /tmp/a
        size=$((size * 2))
      done
      head -c $((width * 4 * $2)) /tmp/a
    }
    # In whole blocks of lines: the kernel forgets writes that end a line they began in the middle of.
    { fill '\0\0\377\0' 200; fill '\0\377\0\0' 200; } | dd of=/dev/fb0 bs=$((width * 400)) iflag=fullblock 2>/dev/null
    echo "LODGE-DRAWN"
    tablet=$(grep -l 'Lodge tablet' /sys/class/input/event*/device/name)
    event=$(basename "${tablet%/device/name}")
    mknod /tmp/tablet c $(tr : ' ' <"/sys/class/input/$event/dev")
    # struct input_event: 16 bytes of time, type, code, value. A position, and the report's end.
    dd if=/tmp/tablet bs=24 count=3 2>/dev/null >/tmp/events &
    sleep 0.1
    echo "LODGE-TABLET"
    wait $!
    echo "LODGE-EVENTS $(od -An -v -t u2 -w24 /tmp/events | awk '{ printf "%s %s %s,", $9, $10, $11 }')"
    before=$(head -n 1 "$modes")
    while [ "$(head -n 1 "$modes")" = "$before" ]; do sleep 0.1; done
    screen
    # The framebuffer follows right after.
    sleep 1
    ;;
  exit)
    # Port 0xf4 = 244: isa-debug-exit.
    printf '\x15' | dd of=/dev/port bs=1 seek=244 conv=notrunc 2>/dev/null
    echo "LODGE-EXIT ignored"
    ;;
  shell | both)
    load_modules
    # With a screen as the console, a second shell on the serial line.
    if [ "$mode" = both ]; then
      echo "LODGE-SHELL" >/dev/ttyS0
      PS1='serial# ' setsid sh -c 'exec sh -i </dev/ttyS0 >/dev/ttyS0 2>&1' &
    fi
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
