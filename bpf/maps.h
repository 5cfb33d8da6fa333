/* SPDX-License-Identifier: MIT */
/*
 * What the programs of the tty probe share: the ring, the maps, and the
 * questions that every hook asks. Both its objects include it; timer.bpf.c is
 * given probe.bpf.c's maps at load.
 */
#ifndef AI_MONITOR_MAPS_H
#define AI_MONITOR_MAPS_H

#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "events.h"
#include "limits.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

enum { MAX_PORTS = 2 * MAX_SESSIONS };

enum port_direction { PORT_OUTPUT = 1, PORT_INPUT };

/*
 * A port whose traffic is watched. Only `look` puts entries in, and only for
 * controlling terminals of the watched user's processes; user space can
 * neither read nor write this map.
 */
struct port {
	__u64 tty;		/* the slave's tty_struct, for `is_still_ours` */
	__u32 session;		/* of the tty, in the root PID namespace */
	__u32 terminal;
	__u32 direction;	/* enum port_direction */
	__u32 users;		/* sessions on this terminal */
};

/* A watched process on its terminal. */
struct session {
	__u64 started_at_ns;
	__u64 output_work;	/* keys of its two ports; 0: not a pty */
	__u64 input_work;
	__u64 last_output_ns;
	__u64 told_slot;	/* of the last EVENT_OUTPUT */
	__u32 terminal;
	__u32 row;		/* of slots that were told, close to each other */
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, RING_BYTES);
} events SEC(".maps");

/*
 * Wakes user space, whatever lies in the ring: the kernel's own choice would
 * not, where something is unread that was told without waking.
 */
static __always_inline void submit(void *event)
{
	bpf_ringbuf_submit(event, BPF_RB_FORCE_WAKEUP);
}

/* By the address of the port's `buf.work`. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_PORTS);
	__uint(map_flags, BPF_F_WRONLY);
	__type(key, __u64);
	__type(value, struct port);
} ports SEC(".maps");

/* By tgid. User space may read it. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_SESSIONS);
	__uint(map_flags, BPF_F_RDONLY);
	__type(key, __u32);
	__type(value, struct session);
} sessions SEC(".maps");

/* Set before load: report this user's processes and terminals, no others. */
const volatile __u32 watched_uid = 0;

static __always_inline bool is_watched_user(struct task_struct *task)
{
	const struct cred *cred = BPF_CORE_READ(task, cred);

	return BPF_CORE_READ(cred, uid.val) == watched_uid &&
	       BPF_CORE_READ(cred, euid.val) == watched_uid;
}

/* Where a terminal's tty_struct keeps its session, as a number. */
static __always_inline __u32 session_of(struct tty_struct *tty)
{
	struct tty_struct___pre515 *old = (void *)tty;
	struct pid *session;

	if (bpf_core_field_exists(tty->ctrl.session))
		session = BPF_CORE_READ(tty, ctrl.session);
	else
		session = BPF_CORE_READ(old, session);
	return session ? BPF_CORE_READ(session, numbers[0].nr) : 0;
}

static __always_inline struct tty_port *port_of(struct work_struct *work)
{
	return (void *)work - bpf_core_field_offset(struct tty_port, buf.work);
}

/*
 * A terminal may be closed while the process lives on, and its memory may
 * become another user's terminal. Its session tells them apart.
 */
static __always_inline bool is_still_ours(struct port *port, struct work_struct *work)
{
	struct tty_struct *tty = BPF_CORE_READ(port_of(work), itty);

	if (port->direction == PORT_OUTPUT)
		tty = BPF_CORE_READ(tty, link);
	return (__u64)tty == port->tty && session_of(tty) == port->session;
}

/*
 * The watched port that this work flushes, if it is one. `function` is what the
 * work runs: where it has ended, its memory may be gone, and to read it directly
 * would crash the kernel.
 */
static __always_inline struct port *find_port(struct work_struct *work, __u64 function,
					      __u64 flush)
{
	__u64 key = (__u64)work;
	struct port *port;

	if (!flush || function != flush)
		return 0;
	port = bpf_map_lookup_elem(&ports, &key);
	if (!port)
		return 0;
	if (!is_still_ours(port, work)) {
		bpf_map_delete_elem(&ports, &key);
		return 0;
	}
	return port;
}

/* The session that writes now: the current process, if it is one of this terminal's. */
static __always_inline struct session *find_writer(struct port *port)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct session *session = bpf_map_lookup_elem(&sessions, &tgid);

	return session && session->terminal == port->terminal ? session : 0;
}

#endif
