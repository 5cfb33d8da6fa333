// SPDX-License-Identifier: MIT
/*
 * Tells when a session has written nothing for a while: one event for each
 * quiet. In an object of its own, since kernels before 5.15 refuse it; there
 * user space looks at the session's last output instead.
 *
 * The timer is lazy: a write only stores its time. When the timer fires too
 * early, it sets itself for the rest.
 */
#include "maps.h"

struct output_event output_event_in_btf = {};

__u64 dropped_quiets = 0;

/* Set before load, when it is known. */
const volatile __u64 flush_work = 0;
const volatile __u64 quiet_ns = 200 * 1000 * 1000;

struct bpf_timer {
	__u64 opaque[2];
} __attribute__((aligned(8)));

struct quiet {
	struct bpf_timer timer;
	__u64 started_at_ns;
	__u64 last_output_ns;
	__u32 terminal;
	__u32 is_armed;
};

/* By tgid. User space removes the entries of exited processes. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_SESSIONS);
	__type(key, __u32);
	__type(value, struct quiet);
} quiets SEC(".maps");

static __always_inline void tell(__u32 tgid, struct quiet *quiet)
{
	struct output_event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

	if (!event) {
		__sync_fetch_and_add(&dropped_quiets, 1);
		return;
	}
	event->header.at_ns = bpf_ktime_get_boot_ns();
	event->header.kind = EVENT_QUIET;
	event->header.terminal = quiet->terminal;
	event->started_at_ns = quiet->started_at_ns;
	event->tgid = tgid;
	event->reserved = 0;
	event->last_output_ns = quiet->last_output_ns;
	submit(event);
}

static int on_timer(void *map, __u32 *tgid, struct quiet *quiet)
{
	/*
	 * Disarm first: a write that comes now arms anew, one that came before
	 * is seen in the time read next. At worst both arm, which is harmless.
	 */
	__u64 passed;

	__sync_lock_test_and_set(&quiet->is_armed, 0);
	passed = bpf_ktime_get_boot_ns() - quiet->last_output_ns;
	if ((__s64)passed < (__s64)quiet_ns) {
		__sync_lock_test_and_set(&quiet->is_armed, 1);
		bpf_timer_start(&quiet->timer, quiet_ns - passed, 0);
	} else {
		tell(*tgid, quiet);
	}
	return 0;
}

SEC("tp_btf/workqueue_queue_work")
int BPF_PROG(arm_timer, int cpu, struct pool_workqueue *pool, struct work_struct *work)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct port *port = find_port(work, (__u64)work->func, flush_work);
	struct session *session;
	struct quiet *quiet;

	if (!port || port->direction != PORT_OUTPUT)
		return 0;
	session = find_writer(port);
	if (!session)
		return 0;
	quiet = bpf_map_lookup_elem(&quiets, &tgid);
	if (!quiet) {
		struct quiet fresh = {};

		bpf_map_update_elem(&quiets, &tgid, &fresh, BPF_ANY);
		quiet = bpf_map_lookup_elem(&quiets, &tgid);
		if (!quiet) {
			__sync_fetch_and_add(&dropped_quiets, 1);
			return 0;
		}
		bpf_timer_init(&quiet->timer, &quiets, CLOCK_BOOTTIME);
		bpf_timer_set_callback(&quiet->timer, on_timer);
	}
	quiet->started_at_ns = session->started_at_ns;
	quiet->terminal = session->terminal;
	quiet->last_output_ns = bpf_ktime_get_boot_ns();
	if (!__sync_lock_test_and_set(&quiet->is_armed, 1))
		bpf_timer_start(&quiet->timer, quiet_ns, 0);
	return 0;
}
