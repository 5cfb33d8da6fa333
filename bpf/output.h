/* SPDX-License-Identifier: MIT */
/*
 * The output of a pty, read from the terminal's own buffers.
 *
 * A look happens before and after each run of flush_to_ldisc(), when no flush
 * of this port runs. The position is the absolute offset in the stream: the
 * master's n_tty_data.read_head says how much was received already. What was
 * consumed between two looks is read back from its read_buf, the rest from
 * the chain of buffers behind it. Bytes that are in neither are counted and
 * told as a gap.
 */

/* Of PIECE bytes or one buffer each: > 64 KiB, a pty's limit. */
enum { CHAIN_STEPS = 512 };

static __always_inline void tell_gap(struct scan *scan)
{
	struct gap_event *event = RESERVE(struct gap_event, EVENT_GAP);

	if (!event)
		return;		/* has_gap stays set: told with the next look */
	event->header.terminal = scan->terminal;
	event->bytes = scan->unseen;
	submit(event);
	scan->unseen = 0;
	scan->has_gap = 0;
}

static __noinline int tell_sequence(struct scan *scan, __u32 length)
{
	struct sequence_event *event;

	if (!scan)
		return 0;
	event = RESERVE(struct sequence_event, EVENT_SEQUENCE);
	if (!event) {
		scan->unseen += length;
		scan->has_gap = 1;
		return 0;
	}
	event->header.terminal = scan->terminal;
	event->length = length > SEQUENCE_LIMIT ? SEQUENCE_LIMIT : length;
	event->reserved = 0;
	__builtin_memcpy(event->text, scan->text, SEQUENCE_LIMIT);
	submit(event);
	return 0;
}

enum { LINE = 64 };		/* bytes; a part of a PIECE */

struct piece {
	struct scan *scan;
	__u32 bytes;
	__u32 first_word;	/* of the line */
};

/* Text without a control is passed over whole. */
static long scan_word(__u32 index, struct piece *piece)
{
	struct scan *scan = piece->scan;
	__u32 at = (piece->first_word + index) % (PIECE / 8) * 8;
	__u64 word = *(__u64 *)(scan->piece + at);

	if (at + 8 <= piece->bytes && is_text(scan, word)) {
		pass_over(scan, word);
		return 0;
	}
	for (int i = 0; i < 8; i++) {
		if (at + i >= piece->bytes)
			break;
		scan_byte(scan, word & 0xff);
		word >>= 8;
	}
	return 0;
}

/* Eight words at a time, if nothing in them has a meaning; else each by itself. */
static long scan_line(__u32 index, struct piece *piece)
{
	struct scan *scan = piece->scan;
	__u32 at = index % (PIECE / LINE) * LINE;
	__u64 *words = (__u64 *)(scan->piece + at);
	bool all_plain = scan->state == GROUND && at + LINE <= piece->bytes;

#pragma unroll
	for (int i = 0; i < LINE / 8; i++)
		all_plain = all_plain && is_plain(words[i]);
	if (all_plain) {
		scan->utf8_left = 0;
		return 0;
	}
	piece->first_word = at / 8;
	bpf_loop(LINE / 8, scan_word, piece, 0);
	return 0;
}

static __always_inline int scan_piece(struct scan *scan, const void *from, __u64 bytes)
{
	struct piece piece = { scan };

	/* The verifier must see the bound on the register that is used. */
	asm volatile("" : "+r"(bytes));
	if (bytes > PIECE)
		bytes = PIECE;
	if (bpf_probe_read_kernel(scan->piece, bytes, from))
		return -1;
	piece.bytes = bytes;
	bpf_loop((bytes + LINE - 1) / LINE, scan_line, &piece, 0);
	return 0;
}

/* Says when much was put out within a slot. */
static __always_inline void count_drawn(struct scan *scan, __u64 bytes)
{
	struct redraw_event *event;

	if (!becomes_much(scan, bytes))
		return;
	event = RESERVE(struct redraw_event, EVENT_REDRAW);
	if (!event)
		return;		/* a look follows; redraws are the least of all evidence */
	event->header.terminal = scan->terminal;
	event->bytes = scan->drawn;
	submit(event);
}

struct walk {
	struct scan *scan;
	__u64 from;		/* n_tty_data, then a tty_buffer */
	__u64 at;		/* offset in the stream of the next byte there */
	__u32 read;		/* offset in the buffer */
	__u32 is_done;
};

static __always_inline __u32 read_buf_bytes(void)
{
	struct n_tty_data *discipline = 0;

	return bpf_core_field_size(discipline->read_buf);
}

/* One piece of what was consumed since the last look; `walk.at` is its end. */
static long scan_consumed(__u32 index, struct walk *walk)
{
	struct scan *scan = walk->scan;
	__u32 size = read_buf_bytes(), position = scan->seen & (size - 1);
	__u64 bytes = walk->at - scan->seen;

	if (scan->seen >= walk->at)
		return 1;
	if (bytes > size - position)
		bytes = size - position;
	if (bytes > PIECE)
		bytes = PIECE;
	if (scan_piece(scan, (void *)walk->from + bpf_core_field_offset(struct n_tty_data, read_buf) +
			     position, bytes)) {
		lose(scan, walk->at - scan->seen);
		scan->seen = walk->at;
		return 1;
	}
	scan->seen += bytes;
	return 0;
}

/* One piece, or one step to the next buffer, of what was not consumed yet. */
static long scan_chain(__u32 index, struct walk *walk)
{
	struct scan *scan = walk->scan;
	struct tty_buffer *buffer = (void *)walk->from;
	/* `next` before `commit`: once next is set, commit is final. */
	struct tty_buffer *next = BPF_CORE_READ(buffer, next);
	__u32 commit = BPF_CORE_READ(buffer, commit);
	__u64 bytes;

	if (walk->read < commit) {
		bytes = commit - walk->read;
		if (walk->at < scan->seen) {
			__u64 known = scan->seen - walk->at;

			if (known < bytes)
				bytes = known;
		} else {
			if (bytes > PIECE)
				bytes = PIECE;
			if (scan_piece(scan, (void *)walk->from + walk->read +
				       bpf_core_field_offset(struct tty_buffer, data), bytes)) {
				walk->is_done = 1;
				return 1;
			}
			scan->seen += bytes;
		}
		walk->read += bytes;
		walk->at += bytes;
		return 0;
	}
	if (!next) {
		walk->is_done = 1;
		return 1;
	}
	walk->from = (__u64)next;
	walk->read = 0;
	return 0;
}

static __noinline int look_at_output(struct work_struct *work, struct port *known)
{
	struct tty_port *port = port_of(work);
	struct n_tty_data *discipline;
	struct tty_buffer *head;
	struct scan *scan;
	struct walk walk = {};
	__u32 terminal;
	__u64 received, seen;

	if (!known)
		return 0;
	terminal = known->terminal;
	scan = bpf_map_lookup_elem(&scans, &terminal);
	if (!scan) {
		bpf_map_update_elem(&scans, &terminal, &empty_scan, BPF_ANY);
		scan = bpf_map_lookup_elem(&scans, &terminal);
		if (!scan)
			return 0;
		scan->terminal = terminal;
	}
	walk.scan = scan;
	discipline = BPF_CORE_READ(port, itty, disc_data);
	received = BPF_CORE_READ(discipline, read_head);
	walk.from = (__u64)discipline;
	walk.at = received;

	if (!scan->has_begun) {
		scan->has_begun = 1;
		scan->seen = received;
	} else if (received < scan->last_head) {
		lose(scan, 0);	/* the discipline was reset: its count began anew */
		scan->seen = received;
	} else if (scan->seen + read_buf_bytes() < received) {
		lose(scan, received - read_buf_bytes() - scan->seen);
		scan->seen = received - read_buf_bytes();
	}
	scan->last_head = received;
	if (scan->has_gap)
		tell_gap(scan);
	seen = scan->seen;

	bpf_loop(read_buf_bytes() / PIECE + 2, scan_consumed, &walk, 0);
	head = BPF_CORE_READ(port, buf.head);
	walk.from = (__u64)head;
	walk.read = BPF_CORE_READ(head, read);
	bpf_loop(CHAIN_STEPS, scan_chain, &walk, 0);

	__builtin_memset(scan->piece, 0, sizeof(scan->piece));
	if (scan->seen != seen)
		count_drawn(scan, scan->seen - seen);
	if (scan->has_bell) {
		scan->has_bell = 0;
		tell_sequence(scan, 0);
	}
	return 0;
}
