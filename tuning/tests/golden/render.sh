#!/bin/sh
# Mends what `frontrow tune check` found on this machine. Read it, then run it as root.
# Running it again does no harm: what is already right is left alone. The values of before are kept
# in $UNDO, the first ones found; `sh $UNDO` puts them back. Nothing of it outlives a restart of the
# machine: see the end.
set -u
ROOT=${FRONTROW_TUNE_ROOT:-}
UNDO=${FRONTROW_TUNE_UNDO:-/var/lib/frontrow-tune-undo.sh}
failed=0

# put PATH VALUE: keeps the value of before, and writes the new one.
put() {
    file=$ROOT$1
    if [ ! -e "$file" ]; then echo "skipped  $1: not on this machine"; return; fi
    # Files of choices show the one in force in brackets.
    old=$(tr -s '\t' ' ' < "$file" | sed 's/.*\[\(.*\)\].*/\1/')
    if [ "$old" = "$2" ]; then echo "already  $1 = $2"; return; fi
    if [ ! -s "$UNDO" ]; then
        cat > "$UNDO" <<'END' || exit 1
#!/bin/sh
# Puts back what Frontrow's tuning changed. Run it as root.
ROOT=${FRONTROW_TUNE_ROOT:-}
put() { echo "$2" > "$ROOT$1" && echo "restored $1 = $2"; }
END
    fi
    grep -qF "put '$1' " "$UNDO" || echo "put '$1' '$old'" >> "$UNDO" || exit 1
    if { echo "$2" > "$file"; } 2>/dev/null; then
        echo "changed  $1: $old -> $2"
    else
        echo "FAILED   $1 = $2"
        failed=1
    fi
}

# thp-defrag (note): huge pages are made up `always`
# every program that touches new memory may stop to move pages about; arenas ask once, at their first touch
put '/sys/kernel/mm/transparent_hugepage/defrag' 'madvise'

# swap (note): 0 B used of 1 GiB, vm.swappiness 60
# a claim that meets a page on the disk waits for it, and all claims of its core with it; memory that a quiet event does not use is what goes first
put '/proc/sys/vm/swappiness' '1'

# io-scheduler (note): mq-deadline (none [mq-deadline])
# it sorts and holds back requests for the sake of moving heads, and the log has one write in flight; the host or the disk sorts its own
put '/sys/block/nvme0n1/queue/scheduler' 'none'

# port-range (note): ports 40000 to 50000 for outgoing connections
# a proxy or load generator on this machine runs out of ports; the server itself needs none
put '/proc/sys/net/ipv4/ip_local_port_range' '16384 60999'

[ -s "$UNDO" ] && echo "To undo: sh $UNDO"

# To be mended by hand:
#   huge-pages (note): partitions.huge_pages = true

# To outlive a restart, in /etc/sysctl.d/91-frontrow-machine.conf:
#   vm.swappiness = 1
#   net.ipv4.ip_local_port_range = 16384 60999

# To outlive a restart, in /etc/tmpfiles.d/frontrow.conf:
#   w /sys/kernel/mm/transparent_hugepage/defrag - - - - madvise
#   w /sys/block/nvme0n1/queue/scheduler - - - - none
exit $failed
