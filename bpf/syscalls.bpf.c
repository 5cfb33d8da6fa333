// SPDX-License-Identifier: MIT
/*
 * The syscall probe: the same facts as probe.bpf.c tells, from tracepoints of
 * system calls, for kernels without BTF and for terminals that are no ptys. It
 * reads no type of the kernel: only contexts of tracepoints, what the helpers
 * tell of the current process, and that process's own memory.
 *
 * User space says which processes are agents and which of their descriptors
 * are their terminal. Compiled twice: with PERF_BUFFER for kernels that have no
 * ring buffer (before 5.8).
 */
#include "types.h"
#include <bpf/bpf_helpers.h>
#include "events.h"
#include "limits.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

/* Set before load: report this user's processes and terminals, no others. */
const volatile __u32 watched_uid = 0;

/* Set before load, from tracefs: where sched_process_fork tells of the child. */
const volatile __u32 fork_child_offset = 44;

#ifdef PERF_BUFFER
/* From CLOCK_MONOTONIC to CLOCK_BOOTTIME, which came to BPF with 5.8. User space keeps it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} slept SEC(".maps");
#endif

static __always_inline __u64 now_ns(void)
{
#ifdef PERF_BUFFER
	__u32 zero = 0;
	__u64 *slept_ns = bpf_map_lookup_elem(&slept, &zero);

	return bpf_ktime_get_ns() + (slept_ns ? *slept_ns : 0);
#else
	return bpf_ktime_get_boot_ns();
#endif
}

#include "scan.h"
#include "keys.h"
#include "lives.h"

/* Every syscall's tracepoints have these; include/trace/syscall.h. */
struct call_entry {
	__u64 common;
	__s64 number;
	__u64 arguments[6];
};

struct call_return {
	__u64 common;
	__s64 number;
	__s64 value;
};

enum {
	MAX_CALLS = 8192,
	MAX_FDS = 256,		/* descriptors above are never taken for a terminal */
	FD_WORDS = MAX_FDS / 64,
	POLL_ENTRIES = 16,	/* looked at in one set of poll() */
	VECTORS = 64,		/* looked at in one writev() */
	SCAN_LIMIT = 32 * 1024,	/* bytes scanned of one write; the rest is a gap */
	SCAN_STEPS = 512,	/* of PIECE bytes, or up to the end of a sequence */
	KEY_PIECES = 4,		/* classified of one read, of PIECE bytes */
};

struct {
#ifdef PERF_BUFFER
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
#else
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, RING_BYTES);
#endif
} events SEC(".maps");

/* Events that found no room. Read by a call, since old kernels cannot map it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_RDONLY);
	__type(key, __u32);
	__type(value, __u64);
} dropped SEC(".maps");

/*
 * The processes that user space took for agents, and those of which it has yet
 * to say. The one map that user space writes; an entry of another user's
 * process has no effect.
 */
struct agent {
	__u64 started_at_ns;	/* 0: user space has not said anything yet */
	__u64 known[FD_WORDS];	/* a bit for each descriptor that user space has seen */
	__u64 tty[FD_WORDS];	/* for each of them that is its terminal */
	__u32 terminal;		/* 0: none */
	__u32 reserved;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_SESSIONS);
	__type(key, __u32);
	__type(value, struct agent);
} watched SEC(".maps");

/* What a watched process last did, by tgid. */
struct doing {
	__u64 started_at_ns;
	__u64 last_output_ns;
	__u64 told_slot;	/* of the last EVENT_OUTPUT */
	__u64 row;		/* told of so often without a pause */
	__u64 asked_slot;	/* of the last EVENT_DESCRIPTOR */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_SESSIONS);
	__uint(map_flags, BPF_F_RDONLY);
	__type(key, __u32);
	__type(value, struct doing);
} doings SEC(".maps");

/*
 * The call that a thread is in, by thread: on its terminal, or on a descriptor
 * that user space has not seen yet. Which of both is known by its end.
 */
struct call {
	__u64 buffer;		/* in the process */
	__u32 vectors;		/* 0: `buffer` is the bytes; else so many iovecs */
	enum wait_kind wait;	/* WAIT_NONE for a write */
	__u32 fd;
	__u32 reserved;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_CALLS);
	__uint(map_flags, BPF_F_RDONLY);
	__type(key, __u32);
	__type(value, struct call);
} calls SEC(".maps");

struct vector {
	__u64 base;
	__u64 bytes;
};

/* How far a write is scanned. Closed to user space as `scans` is. */
struct work {
	__u64 buffer;
	__u64 from;
	__u64 span;		/* bytes left at `from` */
	__u64 left;		/* bytes left in all */
	__u32 vectors;
	__u32 next;
	struct sequence_event event;	/* kind 0: none */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_WRONLY);
	__type(key, __u32);
	__type(value, struct work);
} works SEC(".maps");

/* Keep the types in the BTF, where the skeleton finds them. */
struct process_event process_event_in_btf = {};
struct agent agent_in_btf = {};
struct doing doing_in_btf = {};
struct call call_in_btf = {};

/* How an event is handed over; a perf buffer always wakes. */
enum urgency { WAKES = BPF_RB_FORCE_WAKEUP, GATHERED = BPF_RB_NO_WAKEUP };

static __always_inline bool tell_as(void *ctx, void *event, __u64 size, enum urgency urgency)
{
	__u32 zero = 0;
	__u64 *lost;

#ifdef PERF_BUFFER
	if (!bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, event, size))
		return true;
#else
	if (!bpf_ringbuf_output(&events, event, size, urgency))
		return true;
#endif
	lost = bpf_map_lookup_elem(&dropped, &zero);
	if (lost)
		__sync_fetch_and_add(lost, 1);
	return false;
}

/* User space sleeps by edges: each event has to be one. */
static __always_inline bool tell(void *ctx, void *event, __u64 size)
{
	return tell_as(ctx, event, size, WAKES);
}

static __always_inline struct work *get_work(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&works, &zero);
}

static __noinline int tell_sequence(struct scan *scan, __u32 length)
{
	struct work *work = get_work();

	if (!scan || !work)
		return 0;
	work->event.header.at_ns = now_ns();
	work->event.header.terminal = scan->terminal;
	work->event.header.kind = EVENT_SEQUENCE;
	work->event.length = length > SEQUENCE_LIMIT ? SEQUENCE_LIMIT : length;
	work->event.reserved = 0;
	__builtin_memcpy(work->event.text, scan->text, SEQUENCE_LIMIT);
	return 0;
}

static __always_inline bool is_watched_user(void)
{
	return (__u32)bpf_get_current_uid_gid() == watched_uid;
}

static __always_inline __u32 current_tgid(void)
{
	return bpf_get_current_pid_tgid() >> 32;
}

static __always_inline struct agent *find_agent(void)
{
	__u32 tgid = current_tgid();
	struct agent *agent = bpf_map_lookup_elem(&watched, &tgid);

	return agent && is_watched_user() ? agent : 0;
}

static __always_inline __u64 *word_of(__u64 *words, __u32 fd)
{
	__u32 index = fd / 64;

	/* The verifier must see the bound on the register that is used. */
	asm volatile("" : "+r"(index));
	return words + (index & (FD_WORDS - 1));
}

static __always_inline bool has_bit(__u64 *words, __u32 fd)
{
	return *word_of(words, fd) >> (fd % 64) & 1;
}

static __always_inline struct doing *find_doing(struct agent *agent)
{
	struct doing fresh = { .started_at_ns = agent->started_at_ns };
	__u32 tgid = current_tgid();
	struct doing *doing = bpf_map_lookup_elem(&doings, &tgid);

	if (doing && doing->started_at_ns == agent->started_at_ns)
		return doing;
	bpf_map_update_elem(&doings, &tgid, &fresh, BPF_ANY);
	return bpf_map_lookup_elem(&doings, &tgid);
}

static __always_inline void copy_bit(__u64 *words, __u32 from, __u32 to)
{
	__u64 bit = 1ULL << (to % 64), *word = word_of(words, to);

	*word = has_bit(words, from) ? *word | bit : *word & ~bit;
}

/* Asks user space what this descriptor is: at most once in a slot, in vain or not. */
static __always_inline void ask(void *ctx, struct agent *agent)
{
	struct process_event event = { .header.at_ns = now_ns(), .header.kind = EVENT_DESCRIPTOR };
	struct doing *doing = find_doing(agent);
	__u64 slot = event.header.at_ns / OUTPUT_SLOT_NS + 1;

	if (!doing || doing->asked_slot == slot)
		return;
	event.started_at_ns = agent->started_at_ns;
	event.tgid = current_tgid();
	if (tell(ctx, &event, sizeof(event)))
		doing->asked_slot = slot;
}

/* Whether it is the terminal of this agent, or may be. */
static __always_inline bool may_be_tty(void *ctx, struct agent *agent, __u32 fd)
{
	if (fd >= MAX_FDS)
		return false;
	if (has_bit(agent->known, fd))
		return has_bit(agent->tty, fd);
	ask(ctx, agent);
	return true;
}

static __always_inline int begin(struct call call)
{
	__u32 thread = bpf_get_current_pid_tgid();

	bpf_map_update_elem(&calls, &thread, &call, BPF_ANY);
	return 0;
}

static __always_inline int begin_transfer(struct call_entry *ctx, enum wait_kind wait, __u32 vectors)
{
	struct agent *agent = find_agent();
	__u32 fd = ctx->arguments[0];

	if (!agent || !may_be_tty(ctx, agent, fd))
		return 0;
	return begin((struct call){
		.buffer = ctx->arguments[1], .vectors = vectors, .wait = wait, .fd = fd });
}

SEC("tracepoint")
int on_read(struct call_entry *ctx)
{
	return begin_transfer(ctx, WAIT_READ, 0);
}

SEC("tracepoint")
int on_readv(struct call_entry *ctx)
{
	return begin_transfer(ctx, WAIT_READ, ctx->arguments[2]);
}

SEC("tracepoint")
int on_write(struct call_entry *ctx)
{
	return begin_transfer(ctx, WAIT_NONE, 0);
}

SEC("tracepoint")
int on_writev(struct call_entry *ctx)
{
	return begin_transfer(ctx, WAIT_NONE, ctx->arguments[2]);
}

struct poll_entry {
	__s32 fd;
	__s16 events;
	__s16 found;
};

enum { POLLIN = 1 };

/* poll and ppoll */
SEC("tracepoint")
int on_poll(struct call_entry *ctx)
{
	struct agent *agent = find_agent();
	struct poll_entry entries[POLL_ENTRIES] = {};
	__u64 bytes = ctx->arguments[1] * sizeof(entries[0]);

	if (!agent)
		return 0;
	if (bytes > sizeof(entries))
		bytes = sizeof(entries);
	asm volatile("" : "+r"(bytes));
	if (!bytes || bytes > sizeof(entries))
		return 0;
	if (bpf_probe_read_user(entries, bytes, (void *)ctx->arguments[0]))
		return 0;
#pragma unroll
	for (int i = 0; i < POLL_ENTRIES; i++) {
		__u32 fd = entries[i].fd;

		if (entries[i].events & POLLIN && may_be_tty(ctx, agent, fd))
			return begin((struct call){ .wait = WAIT_POLL, .fd = fd });
	}
	return 0;
}

/* The place of the lowest bit that is set; there is one. */
static __always_inline __u32 lowest(__u64 bits)
{
	__u32 place = 0;

#pragma unroll
	for (int half = 32; half; half /= 2) {
		if (bits << (64 - half))
			continue;
		bits >>= half;
		place += half;
	}
	return place;
}

/* select and pselect6 */
SEC("tracepoint")
int on_select(struct call_entry *ctx)
{
	struct agent *agent = find_agent();
	__u64 words[FD_WORDS] = {}, count = ctx->arguments[0];
	__u64 bytes = (count + 63) / 64 * 8;

	if (!agent || count > 1 << 20)
		return 0;
	if (bytes > sizeof(words))
		bytes = sizeof(words);
	asm volatile("" : "+r"(bytes));
	if (!bytes || bytes > sizeof(words))
		return 0;
	if (bpf_probe_read_user(words, bytes, (void *)ctx->arguments[1]))
		return 0;
#pragma unroll
	for (int i = 0; i < FD_WORDS; i++) {
		__u64 found = words[i] & (agent->tty[i] | ~agent->known[i]);

		if (found & ~agent->known[i])
			ask(ctx, agent);
		if (found)
			return begin((struct call){ .wait = WAIT_POLL, .fd = i * 64 + lowest(found) });
	}
	return 0;
}

/* epoll_wait and its kin. Whether the terminal is in the set, user space finds out. */
SEC("tracepoint")
int on_epoll(struct call_entry *ctx)
{
	struct agent *agent = find_agent();

	if (!agent)
		return 0;
	return begin((struct call){ .wait = WAIT_EPOLL, .fd = ctx->arguments[0] });
}

SEC("tracepoint")
int on_close(struct call_entry *ctx)
{
	__u64 fd = ctx->arguments[0];
	struct agent *agent = find_agent();

	if (!agent || fd >= MAX_FDS)
		return 0;
	*word_of(agent->known, fd) &= ~(1ULL << (fd % 64));
	*word_of(agent->tty, fd) &= ~(1ULL << (fd % 64));
	return 0;
}

static __always_inline bool is_tty(struct agent *agent, __u32 fd)
{
	return fd < MAX_FDS && has_bit(agent->tty, fd);
}

/* Takes out what this thread began; false if that was nothing of a terminal. */
static __always_inline bool end(struct call *ended)
{
	__u32 thread = bpf_get_current_pid_tgid();
	struct call *call = bpf_map_lookup_elem(&calls, &thread);

	if (!call)
		return false;
	*ended = *call;
	bpf_map_delete_elem(&calls, &thread);
	return true;
}

SEC("tracepoint")
int on_waited(void *ctx)
{
	struct call call;

	end(&call);
	return 0;
}

/* F_DUPFD and F_DUPFD_CLOEXEC of fcntl */
enum { DUPLICATE = 0, DUPLICATE_CLOEXEC = 1030 };

static __always_inline int begin_duplication(struct call_entry *ctx)
{
	if (!find_agent())
		return 0;
	return begin((struct call){ .wait = WAIT_NONE, .fd = ctx->arguments[0] });
}

/* dup, dup2 and dup3 */
SEC("tracepoint")
int on_dup(struct call_entry *ctx)
{
	return begin_duplication(ctx);
}

SEC("tracepoint")
int on_fcntl(struct call_entry *ctx)
{
	__u64 command = ctx->arguments[1];

	if (command != DUPLICATE && command != DUPLICATE_CLOEXEC)
		return 0;
	return begin_duplication(ctx);
}

/* The copy is what the first is. */
SEC("tracepoint")
int on_duplicated(struct call_return *ctx)
{
	__u64 copy = ctx->value;
	struct agent *agent;
	struct call call;

	if (!end(&call))
		return 0;
	agent = find_agent();
	if (!agent || copy >= MAX_FDS || call.fd >= MAX_FDS)
		return 0;
	copy_bit(agent->known, call.fd, copy);
	copy_bit(agent->tty, call.fd, copy);
	return 0;
}

static __always_inline void tell_output(void *ctx, struct agent *agent)
{
	struct output_event event = { .header.at_ns = now_ns(), .header.kind = EVENT_OUTPUT };
	__u64 slot = event.header.at_ns / OUTPUT_SLOT_NS + 1;	/* never 0, the value of none */
	struct doing *doing = find_doing(agent);
	__u64 row;

	if (!doing)
		return;
	doing->last_output_ns = event.header.at_ns;
	if (doing->told_slot == slot)
		return;
	event.header.terminal = agent->terminal;
	event.started_at_ns = agent->started_at_ns;
	event.tgid = current_tgid();
	event.last_output_ns = event.header.at_ns;
	row = next_row(doing->row, doing->told_slot, slot);
	if (!tell_as(ctx, &event, sizeof(event), row >= GATHERED_AFTER ? GATHERED : WAKES))
		return;
	doing->row = row;
	doing->told_slot = slot;
}

static __always_inline void tell_redraw(void *ctx, struct scan *scan)
{
	struct redraw_event event = {
		.header.at_ns = now_ns(),
		.header.kind = EVENT_REDRAW,
		.header.terminal = scan->terminal,
		.bytes = scan->drawn,
	};

	tell(ctx, &event, sizeof(event));
}

static __always_inline void tell_gap(void *ctx, struct scan *scan)
{
	struct gap_event event = {
		.header.at_ns = now_ns(),
		.header.kind = EVENT_GAP,
		.header.terminal = scan->terminal,
		.bytes = scan->unseen,
	};

	if (!tell(ctx, &event, sizeof(event)))
		return;		/* has_gap stays set: told with the next write */
	scan->unseen = 0;
	scan->has_gap = 0;
}

static __always_inline struct scan *find_scan(__u32 terminal)
{
	struct scan *scan = bpf_map_lookup_elem(&scans, &terminal);

	if (scan)
		return scan;
	bpf_map_update_elem(&scans, &terminal, &empty_scan, BPF_ANY);
	scan = bpf_map_lookup_elem(&scans, &terminal);
	if (scan)
		scan->terminal = terminal;
	return scan;
}

/*
 * The next word of `piece`: how many bytes of it were scanned, which ends early
 * with a sequence. Global, as `scan_step` and `classify_piece`: the verifier
 * sees such a function once, and not in every turn of a loop. That is 5.6.
 */
__noinline int scan_word(__u32 terminal, __u32 at, __u32 bytes)
{
	struct scan *scan = bpf_map_lookup_elem(&scans, &terminal);
	struct work *work = get_work();
	__u64 word;

	if (!scan || !work || at > PIECE - 8)
		return 0;
	word = *(__u64 *)(scan->piece + (at & (PIECE - 8)));
	if (at + 8 <= bytes && is_text(scan, word)) {
		pass_over(scan, word);
		return 8;
	}
	for (int i = 0; i < 8; i++) {
		if (at + i >= bytes)
			return i;
		scan_byte(scan, word & 0xff);
		if (work->event.header.kind)
			return i + 1;
		word >>= 8;
	}
	return 8;
}

/* Scans a piece, or goes to the next vector; 0 at the end. */
__noinline int scan_step(__u32 terminal)
{
	struct scan *scan = bpf_map_lookup_elem(&scans, &terminal);
	struct work *work = get_work();
	struct vector vector = {};
	__u64 bytes, scanned = 0;

	if (!scan || !work || !work->left)
		return 0;
	if (!work->span) {
		if (work->next >= work->vectors || work->next >= VECTORS)
			return 0;
		if (bpf_probe_read_user(&vector, sizeof(vector),
					(void *)(work->buffer + work->next * sizeof(vector))))
			return 0;
		work->next++;
		work->from = vector.base;
		work->span = vector.bytes < work->left ? vector.bytes : work->left;
		return 1;
	}
	bytes = work->span;
	asm volatile("" : "+r"(bytes));
	if (bytes > PIECE)
		bytes = PIECE;
	if (bpf_probe_read_user(scan->piece, bytes, (void *)work->from))
		return 0;
	for (__u32 at = 0; at < PIECE; at += 8) {
		if (at >= bytes || work->event.header.kind)
			break;
		scanned += scan_word(terminal, at, bytes);
	}
	work->from += scanned;
	work->span -= scanned;
	work->left -= scanned;
	return scanned != 0;
}

static __always_inline void scan_written(void *ctx, struct scan *scan, struct call *call, __u64 bytes)
{
	struct work *work = get_work();
	__u64 rest;

	if (!work)
		return;
	if (scan->has_gap)
		tell_gap(ctx, scan);
	work->buffer = call->buffer;
	work->left = bytes < SCAN_LIMIT ? bytes : SCAN_LIMIT;
	work->from = call->buffer;
	work->span = call->vectors ? 0 : work->left;
	work->vectors = call->vectors;
	work->next = 0;
	work->event.header.kind = 0;
	rest = bytes - work->left;
	for (int i = 0; i < SCAN_STEPS; i++) {
		if (!scan_step(scan->terminal))
			break;
		if (!work->event.header.kind)
			continue;
		if (!tell(ctx, &work->event, sizeof(work->event)))
			lose(scan, work->event.length);
		work->event.header.kind = 0;
	}
	rest += work->left;
	if (rest)
		lose(scan, rest);
	if (scan->has_bell) {
		scan->has_bell = 0;
		tell_sequence(scan, 0);
		tell(ctx, &work->event, sizeof(work->event));
	}
	__builtin_memset(scan->piece, 0, sizeof(scan->piece));
	__builtin_memset(work, 0, sizeof(*work));
	if (scan->has_gap)
		tell_gap(ctx, scan);
}

enum content { CONTENT_UNSEEN, CONTENT_SCANNED };

static __always_inline int end_write(struct call_return *ctx, enum content content)
{
	__s64 bytes = ctx->value;
	struct agent *agent;
	struct scan *scan;
	struct call call;

	if (!end(&call) || bytes <= 0)
		return 0;
	agent = find_agent();
	if (!agent || call.wait != WAIT_NONE || !is_tty(agent, call.fd))
		return 0;
	tell_output(ctx, agent);
	scan = find_scan(agent->terminal);
	if (!scan)
		return 0;
	if (becomes_much(scan, bytes))
		tell_redraw(ctx, scan);
	if (content == CONTENT_SCANNED)
		scan_written(ctx, scan, &call, bytes);
	return 0;
}

/* Of write and writev: this one, or the next on kernels that take it. */
SEC("tracepoint")
int on_written(struct call_return *ctx)
{
	return end_write(ctx, CONTENT_UNSEEN);
}

SEC("tracepoint")
int on_written_scan(struct call_return *ctx)
{
	return end_write(ctx, CONTENT_SCANNED);
}

static __always_inline int tell_input(void *ctx, __u32 terminal, __u32 bytes, __u32 classes)
{
	struct input_event event = {
		.header.at_ns = now_ns(),
		.header.kind = EVENT_INPUT,
		.header.terminal = terminal,
		.bytes = bytes,
		.classes = classes,
	};

	tell(ctx, &event, sizeof(event));
	return 0;
}

/* The classes of up to PIECE bytes at this address of the process. */
__noinline int classify_piece(__u32 terminal, __u64 from, __u64 bytes)
{
	struct typing *typing = bpf_map_lookup_elem(&typings, &terminal);
	__u32 classes = 0;

	if (!typing)
		return 0;
	asm volatile("" : "+r"(bytes));
	if (bytes > PIECE)
		bytes = PIECE;
	if (bpf_probe_read_user(typing->piece, bytes, (void *)from))
		return 0;
	for (__u32 at = 0; at < PIECE; at++) {
		if (at >= bytes)
			break;
		classes |= classes_of(typing, typing->piece[at]);
	}
	__builtin_memset(typing->piece, 0, PIECE);
	return classes;
}

static __always_inline __u32 classify_read(__u32 terminal, struct call *call, __u64 bytes)
{
	__u32 classes = 0;
	struct typing *typing = bpf_map_lookup_elem(&typings, &terminal);
	struct vector vector = { call->buffer, bytes };

	if (!typing) {
		bpf_map_update_elem(&typings, &terminal, &empty_typing, BPF_ANY);
		typing = bpf_map_lookup_elem(&typings, &terminal);
		if (!typing)
			return 0;
	}
	/* What a terminal gives fits into the first vector, or is a long paste. */
	if (call->vectors &&
	    bpf_probe_read_user(&vector, sizeof(vector), (void *)call->buffer))
		return 0;
	if (vector.bytes > bytes)
		vector.bytes = bytes;
	for (int i = 0; i < KEY_PIECES; i++) {
		if (vector.bytes <= i * PIECE)
			break;
		classes |= classify_piece(terminal, vector.base + i * PIECE,
					  vector.bytes - i * PIECE);
	}
	if (is_lone_escape(typing, bytes))
		classes |= INPUT_ESCAPE;
	return classes;
}

static __always_inline int end_read(struct call_return *ctx, enum content content)
{
	__s64 bytes = ctx->value;
	struct agent *agent;
	struct call call;
	__u32 terminal;

	if (!end(&call) || bytes <= 0)
		return 0;
	agent = find_agent();
	if (!agent || call.wait != WAIT_READ || !is_tty(agent, call.fd))
		return 0;
	terminal = agent->terminal;
	if (content == CONTENT_UNSEEN)
		return tell_input(ctx, terminal, 0, 0);
	return tell_input(ctx, terminal, bytes, classify_read(terminal, &call, bytes));
}

/* Of read and readv: this one, or the next on kernels that take it. */
SEC("tracepoint")
int on_was_read(struct call_return *ctx)
{
	return end_read(ctx, CONTENT_UNSEEN);
}

SEC("tracepoint")
int on_was_read_classify(struct call_return *ctx)
{
	return end_read(ctx, CONTENT_SCANNED);
}

/* The current process. When it started, and from whom, user space adds. */
static __always_inline int tell_process(void *ctx, enum event_kind kind, __u32 tgid,
					__u32 parent_tgid)
{
	struct process_event event = { .header.at_ns = now_ns(), .header.kind = kind };

	event.tgid = tgid;
	event.parent_tgid = parent_tgid;
	if (kind == EVENT_EXEC)
		bpf_get_current_comm(event.comm, sizeof(event.comm));
	tell(ctx, &event, sizeof(event));
	return 0;
}

SEC("tracepoint")
int on_exec(void *ctx)
{
	__u32 tgid = current_tgid();
	struct agent *agent, fresh = {};
	struct name name = {};

	if (!is_watched_user())
		return 0;
	agent = bpf_map_lookup_elem(&watched, &tgid);
	if (agent) {
		/* Some of its descriptors were closed. */
		__builtin_memset(agent->known, 0, sizeof(agent->known));
		__builtin_memset(agent->tty, 0, sizeof(agent->tty));
	} else {
		bpf_get_current_comm(name.text, sizeof(name.text));
		if (!bpf_map_lookup_elem(&names, &name))
			return 0;
		/* It may wait for its terminal before user space comes to it. */
		bpf_map_update_elem(&watched, &tgid, &fresh, BPF_ANY);
	}
	return tell_process(ctx, EVENT_EXEC, tgid, 0);
}

/* Of threads too: user space tells them from processes. */
SEC("tracepoint")
int on_fork(void *ctx)
{
	__u32 tgid = current_tgid(), child = 0;

	if (!find_agent())
		return 0;
	if (bpf_probe_read_kernel(&child, sizeof(child), ctx + fork_child_offset))
		return 0;
	bpf_map_update_elem(&children, &child, &tgid, BPF_ANY);
	return tell_process(ctx, EVENT_FORK, child, tgid);
}

/*
 * Of the first thread. The process may live on: it may have others, or one of
 * them may have called exec. User space sees what became of it.
 */
SEC("tracepoint")
int on_exit(void *ctx)
{
	__u32 tgid = current_tgid(), thread = bpf_get_current_pid_tgid(), *parent, terminal;
	struct agent *agent;

	if (bpf_map_lookup_elem(&calls, &thread))
		bpf_map_delete_elem(&calls, &thread);
	parent = bpf_map_lookup_elem(&children, &thread);
	agent = thread == tgid ? find_agent() : 0;
	if (agent || (parent && thread == tgid && is_watched_user()))
		tell_process(ctx, EVENT_EXIT, tgid, parent ? *parent : 0);
	if (parent)
		bpf_map_delete_elem(&children, &thread);
	if (agent) {
		/* Who lives on here, or there, begins anew. */
		terminal = agent->terminal;
		bpf_map_delete_elem(&scans, &terminal);
		bpf_map_delete_elem(&typings, &terminal);
		bpf_map_delete_elem(&doings, &tgid);
		if (!agent->started_at_ns)
			bpf_map_delete_elem(&watched, &tgid);
	}
	return 0;
}
