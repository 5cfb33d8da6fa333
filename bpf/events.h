/* SPDX-License-Identifier: MIT */
/*
 * The wire between the BPF programs and src/sources/kernel/wire.rs.
 *
 * Fixed-width fields only, no holes: what the kernel writes is exactly what
 * Rust reads. Rust takes these types from the object file's BTF; nobody
 * copies them by hand. All times are nanoseconds of CLOCK_BOOTTIME.
 */
#ifndef AI_MONITOR_EVENTS_H
#define AI_MONITOR_EVENTS_H

enum event_kind {
	EVENT_EXEC = 1,		/* process_event */
	EVENT_FORK,		/* process_event of the child */
	EVENT_EXIT,		/* process_event */
	EVENT_OUTPUT,		/* output_event */
	EVENT_QUIET,		/* output_event */
	EVENT_INPUT,		/* input_event */
	EVENT_SEQUENCE,		/* sequence_event */
	EVENT_GAP,		/* gap_event */
	EVENT_REDRAW,		/* redraw_event */
	EVENT_DESCRIPTOR,	/* process_event: it uses one that user space has not seen */
	EVENT_KINDS,
};

struct event_header {
	__u64 at_ns;
	enum event_kind kind;
	__u32 terminal;		/* 0 where none is meant */
};

struct process_event {
	struct event_header header;
	__u64 started_at_ns;	/* with tgid, names the process for ever */
	__u32 tgid;
	__u32 parent_tgid;
	char comm[16];
};

struct output_event {
	struct event_header header;
	__u64 started_at_ns;
	__u32 tgid;
	__u32 reserved;
	__u64 last_output_ns;
};

enum input_class {
	INPUT_ENTER = 1 << 0,
	INPUT_ESCAPE = 1 << 1,	/* one escape byte and nothing else */
	INPUT_INTERRUPT = 1 << 2,
	INPUT_FOCUS_IN = 1 << 3,
	INPUT_FOCUS_OUT = 1 << 4,
};

struct input_event {
	struct event_header header;
	__u32 bytes;		/* 0: neither number nor kind is known */
	enum input_class classes;	/* any of them */
};

enum { SEQUENCE_LIMIT = 128 };

struct sequence_event {
	struct event_header header;
	__u32 length;		/* 0: a bell. From '?' on: a mode, `?2004h` */
	__u32 reserved;
	__u8 text[SEQUENCE_LIMIT];
};

/* Once in a slot, when so much was put out in it. */
enum { REDRAW_BYTES = 400 };

struct redraw_event {
	struct event_header header;
	__u64 bytes;		/* in this slot so far */
};

struct gap_event {
	struct event_header header;
	__u64 bytes;		/* 0: how many is not known */
};

/* What the iterators write. */

enum wait_kind {
	WAIT_NONE,
	WAIT_READ,
	WAIT_POLL,
	WAIT_EPOLL,
	WAIT_IO_URING,
};

/* One for each process, with WAIT_NONE, then one for each wait found. */
struct look_record {
	__u64 started_at_ns;
	__u64 last_output_ns;	/* 0: it has not written since it was watched */
	__u32 tgid;
	__u32 terminal;		/* 0: no terminal whose traffic shows here */
	__u32 tty_major;	/* 0: no controlling terminal */
	__u32 tty_minor;
	__u32 is_canonical;
	enum wait_kind wait;
};

/* Who holds the other end of a terminal. */
struct owner_record {
	__u64 started_at_ns;
	__u32 tgid;
	__u32 terminal;
	char comm[16];
};

_Static_assert(sizeof(struct event_header) == 16, "the wire changed");
_Static_assert(sizeof(struct process_event) == 48, "the wire changed");
_Static_assert(sizeof(struct output_event) == 40, "the wire changed");
_Static_assert(sizeof(struct input_event) == 24, "the wire changed");
_Static_assert(sizeof(struct sequence_event) == 152, "the wire changed");
_Static_assert(sizeof(struct redraw_event) == 24, "the wire changed");
_Static_assert(sizeof(struct gap_event) == 24, "the wire changed");
_Static_assert(sizeof(struct look_record) == 40, "the wire changed");
_Static_assert(sizeof(struct owner_record) == 32, "the wire changed");

#endif
