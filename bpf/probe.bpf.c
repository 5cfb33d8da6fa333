// SPDX-License-Identifier: MIT
/*
 * Reports what the watched user's agents and their terminals do. Decides
 * nothing: policy lives in core/. Text and keys stay here.
 *
 *   scan.h      the state-bearing sequences in the output; output.h, where that is
 *   keys.h      what kind of keys came
 *   tty.h       who writes to a watched terminal, and when; where keys are
 *   process.h   exec, fork, exit of agents
 *   look.h      iterators: who waits for input and how; who owns the other end
 */
#include "maps.h"

/* Keep the wire's types in the BTF, where the skeleton finds them. */
struct process_event process_event_in_btf = {};
struct output_event output_event_in_btf = {};
struct input_event input_event_in_btf = {};
struct sequence_event sequence_event_in_btf = {};
struct gap_event gap_event_in_btf = {};
struct redraw_event redraw_event_in_btf = {};
struct look_record look_record_in_btf = {};
struct owner_record owner_record_in_btf = {};

/* Events that found the ring full, by kind. User space looks again when it grows. */
__u64 dropped[EVENT_KINDS] = {};

/*
 * Set before load: whether on_execute_start and on_execute_end are loaded. They
 * need bpf_loop(), Linux 5.17; without them keys are told by their edge alone.
 */
const volatile bool sees_content = true;

/* flush_to_ldisc(), learnt by `look` from a living terminal: no kallsyms needed. */
__u64 flush_work = 0;

#define RESERVE(type, event_kind)                                               \
	({                                                                      \
		type *event = bpf_ringbuf_reserve(&events, sizeof(type), 0);    \
		if (event) {                                                    \
			event->header.at_ns = bpf_ktime_get_boot_ns();          \
			event->header.kind = event_kind;                        \
			event->header.terminal = 0;                             \
		} else {                                                        \
			__sync_fetch_and_add(&dropped[event_kind], 1);          \
		}                                                               \
		event;                                                          \
	})

static __always_inline __u64 now_ns(void)
{
	return bpf_ktime_get_boot_ns();
}

#include "scan.h"
#include "keys.h"
#include "output.h"
#include "tty.h"
#include "lives.h"
#include "process.h"
#include "look.h"
