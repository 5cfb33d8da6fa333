#!/bin/busybox sh
# The first process of a machine of the kernel matrix. Runs /case.sh and tells
# its exit code.

/bin/busybox mkdir -p /proc /sys /dev /tmp /run /var/tmp /root
/bin/busybox mount -t devtmpfs dev /dev
exec </dev/null >/dev/console 2>&1
/bin/busybox --install -s /bin
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root EMULATED=1 CI=true
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tracefs trace /sys/kernel/tracing
mount -t securityfs security /sys/kernel/security
mount -t bpf bpf /sys/fs/bpf
mkdir -p /dev/pts
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
chmod 1777 /tmp /var/tmp
ip link set lo up
echo 'root:x:0:0:root:/root:/bin/bash' >/etc/passwd
echo 'root:x:0:' >/etc/group
# A group for each user, as everywhere.
echo 'USERGROUPS_ENAB yes' >/etc/login.defs
echo "Linux $(uname -r), up for $(cut -d ' ' -f 1 /proc/uptime) s"

# Starts the monitor of this path and ends it once it is ready. Each line of its
# log is written with `log: ` before it. The exit code is 0 if it got ready, or
# else the monitor's own.
start() {
    useradd --no-create-home somebody
    : >/tmp/log
    "$1" --user somebody --dry-run 2>>/tmp/log &
    local monitor=$! code=0
    # One that has ended and was not waited for has no program.
    while [ -e "/proc/$monitor/exe" ] && ! grep -q ' ready: ' /tmp/log; do sleep 0.2; done
    if grep -q ' ready: ' /tmp/log; then
        kill "$monitor"
        wait "$monitor"
    else
        wait "$monitor"
        code=$?
    fi
    sed 's/^/log: /' /tmp/log
    return "$code"
}

. /case.sh
echo "EXIT=$?"
sync
poweroff -f
