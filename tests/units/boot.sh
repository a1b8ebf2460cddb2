#!/bin/bash
# Boots a systemd of its own (PID 1 of new namespaces, on an overlay of this machine's files) with the installed units,
# and checks what they promise: readiness, the watchdog, restarts after a crash, a data plane that outlives the metadata
# daemon, a clean end. Nothing of this machine is changed; all ends with this script. Prints one line per check.
#
# usage: boot.sh FOLDER, where `cargo xtask install [--debug] FOLDER` has put the programs; needs root, systemd, overlayfs
# and a unified cgroup hierarchy that can be mounted.
set -euo pipefail

readonly ROOT_UNIT=mars-boot-test.target

say() { echo "boot: $*"; }
fail() { echo "boot: FAILED: $*" >&2; exit 1; }

# The new root, as PID 1 of the new namespaces; ends as systemd itself.
become_system() {
    local installed=$1 base=$2 root=$2/root unit
    mount --make-rprivate /
    mount -t tmpfs tmpfs "$base"
    mkdir "$base"/{upper,work,root}
    mount -t overlay overlay -o "lowerdir=/,upperdir=$base/upper,workdir=$base/work" "$root"
    mount -t proc proc "$root/proc"
    mount -t tmpfs tmpfs "$root/run"
    mount -t tmpfs tmpfs "$root/tmp"
    mount -t tmpfs tmpfs "$root/var/lib"
    mount --rbind /dev "$root/dev"
    mount -t sysfs sysfs "$root/sys"
    mount -t cgroup2 none "$root/sys/fs/cgroup"
    cp -a "$installed/." "$root/"
    # Of this machine's own services none.
    rm -rf "$root"/etc/systemd/system/*
    for unit in systemd-{udevd,udev-trigger,modules-load,sysctl,random-seed,firstboot,networkd,resolved,timesyncd}.service; do
        ln -s /dev/null "$root/etc/systemd/system/$unit"
    done
    printf '[Unit]\nDescription=MARS alone\nRequires=basic.target\nAfter=basic.target\n' \
        >"$root/etc/systemd/system/$ROOT_UNIT"
    : >"$root/etc/fstab"
    echo hosta >"$root/etc/hostname"
    mkdir -p "$root/mars"
    exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb \
        chroot "$root" /lib/systemd/systemd --system --unit=$ROOT_UNIT
}

if [[ ${1:-} == --system ]]; then
    become_system "$2" "$3"
fi

[[ $# -eq 1 && -x $1/usr/bin/marsd ]] || fail "usage: boot.sh FOLDER of cargo xtask install"
[[ $EUID -eq 0 ]] || fail "namespaces and mounts need root"
[[ -x /lib/systemd/systemd ]] || fail "there is no systemd on this machine"
installed=$(realpath "$1")
base=$(mktemp -d)
log=$(mktemp)
unshare -m -p -f -u -i -C --kill-child bash "$(realpath "$0")" --system "$installed" "$base" >"$log" 2>&1 &
system=$!
trap 'kill -9 $system 2>/dev/null || true; wait $system 2>/dev/null || true; rmdir "$base"; rm -f "$log"' EXIT

# A command inside.
inside() {
    local pid
    pid=$(pgrep -P $system) || return 1
    nsenter -t "$pid" -m -p -u -i -C -r -w env PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"
}

# Waits until a command succeeds, a minute at most.
eventually() {
    local what=$1 left=300
    shift
    until "$@" >/dev/null 2>&1; do
        left=$((left - 1))
        if [[ $left -eq 0 ]]; then
            inside systemctl status --no-pager marsd mars-datapath >&2 || cat "$log" >&2
            fail "$what"
        fi
        sleep 0.2
    done
    say "$what"
}

shows() { [[ $(inside systemctl show -P "$2" "$1") == "$3" ]]; }
main_pid() { inside systemctl show -P MainPID "$1"; }
status_says() { inside systemctl show -P StatusText "$1" | grep -q "$2"; }

eventually "systemd is up as PID 1" inside systemctl is-active $ROOT_UNIT
inside systemctl start marsd
inside test -S /run/mars/marsd.sock || fail "started, but the local API is not there"
say "marsd is started when its local API answers"
inside systemctl start mars-datapath
say "mars-datapath is started"
inside marsadm create-cluster >/dev/null 2>&1
inside truncate -s 64M /var/lib/mars/disk
inside marsadm create-resource mydata /var/lib/mars/disk >/dev/null 2>&1
inside marsadm wait-resource mydata is-primary >/dev/null 2>&1
say "a cluster and a resource under the restrictions of the units"

plane=$(main_pid mars-datapath)
inside systemctl stop marsd
eventually "the data plane goes on without marsd, and says so" status_says mars-datapath "waiting for marsd"
[[ $(main_pid mars-datapath) == "$plane" ]] || fail "the data plane was restarted with marsd"
inside systemctl start marsd
eventually "the data plane is connected again" status_says mars-datapath "marsd is connected"
[[ $(main_pid mars-datapath) == "$plane" ]] || fail "the data plane was restarted with marsd"

for unit in marsd mars-datapath; do
    inside kill -9 "$(main_pid $unit)"
    eventually "$unit is restarted after kill -9" shows $unit NRestarts 1
    eventually "$unit is ready again" shows $unit ActiveState active
done

# A shorter patience than that of the units, so that this does not take minutes.
for unit in marsd mars-datapath; do
    inside sh -c "mkdir -p /etc/systemd/system/$unit.service.d
        printf '[Service]\nWatchdogSec=10\n' >/etc/systemd/system/$unit.service.d/patience.conf
        systemctl daemon-reload; systemctl reset-failed $unit; systemctl restart $unit"
    before=$(inside systemctl show -P NRestarts $unit)
    inside kill -STOP "$(main_pid $unit)"
    eventually "$unit that hangs is ended by the watchdog and started anew" shows $unit NRestarts $((before + 1))
    eventually "$unit is ready again" shows $unit ActiveState active
done

inside marsadm wait-resource mydata is-primary >/dev/null 2>&1
inside systemctl stop mars-datapath marsd
for unit in marsd mars-datapath; do
    shows $unit ActiveState inactive && shows $unit Result success || fail "$unit did not end well"
done
say "both end well"
say "all is well"
