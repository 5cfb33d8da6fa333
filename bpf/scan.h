/* SPDX-License-Identifier: MIT */
/*
 * Finds the state-bearing sequences in a terminal's output.
 *
 * A look happens before and after each run of flush_to_ldisc(), when no flush
 * of this port runs. The position is the absolute offset in the stream: the
 * master's n_tty_data.read_head says how much was received already. What was
 * consumed between two looks is read back from its read_buf, the rest from
 * the chain of buffers behind it. Bytes that are in neither are counted and
 * told as a gap.
 */

enum {
	PIECE = 256,		/* bytes copied and scanned in one go */
	CHAIN_STEPS = 512,	/* of PIECE bytes or one buffer each: > 64 KiB, a pty's limit */
};

enum scan_state {
	GROUND,
	ESCAPE,			/* ESC */
	OSC,			/* ESC ] ... */
	OSC_ESCAPE,		/* ESC ] ... ESC */
	CSI,			/* ESC [ and the first `length` bytes of PASTE_MODE */
};

/* The 8-bit forms of ESC [, ESC \ and ESC ], where they are no part of a UTF-8 character. */
enum { C1_CSI = 0x9b, C1_ST = 0x9c, C1_OSC = 0x9d };

/* `?2004`, then h or l: bracketed paste. The first byte is the lowest. */
#define PASTE_MODE 0x343030323fULL
enum { PASTE_MODE_BYTES = 5 };

struct scan {
	__u64 seen;		/* offset of the next byte to scan */
	__u64 last_head;
	__u64 unseen;		/* bytes lost and not yet told */
	__u32 length;		/* of the sequence so far; it may be cut in `text` */
	__u8 has_begun;
	__u8 has_gap;
	__u8 has_bell;
	__u8 state;		/* enum scan_state */
	__u8 utf8_left;		/* bytes of a character that are still to come */
	__u8 reserved[3];
	__u32 terminal;
	__u32 drawn;		/* bytes put out in `slot` */
	__u64 slot;
	__u8 text[SEQUENCE_LIMIT];
	__u8 piece[PIECE + 8];
};

/* By terminal. Closed to user space: it holds text for the time of a look. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_SESSIONS);
	__uint(map_flags, BPF_F_WRONLY);
	__type(key, __u32);
	__type(value, struct scan);
} scans SEC(".maps");

static const struct scan empty_scan = {};

static __always_inline void tell_gap(struct scan *scan)
{
	struct gap_event *event = RESERVE(struct gap_event, EVENT_GAP);

	if (!event)
		return;		/* has_gap stays set: told with the next look */
	event->header.terminal = scan->terminal;
	event->bytes = scan->unseen;
	bpf_ringbuf_submit(event, 0);
	scan->unseen = 0;
	scan->has_gap = 0;
}

static __always_inline void lose(struct scan *scan, __u64 bytes)
{
	scan->unseen += bytes;
	scan->has_gap = 1;
	scan->state = GROUND;
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
	bpf_ringbuf_submit(event, 0);
	return 0;
}

static __always_inline bool starts(const __u8 *text, const char *number, int digits)
{
	for (int i = 0; i < digits; i++)
		if (text[i] != (__u8)number[i])
			return false;
	return text[digits] == ';';
}

/* Titles, progress and notifications, and OSC 7501, the program's status. */
static __always_inline bool bears_state(const __u8 *text)
{
	return starts(text, "0", 1) || starts(text, "2", 1) || starts(text, "9", 1) ||
	       starts(text, "99", 2) || starts(text, "777", 3) || starts(text, "7501", 4);
}

static __noinline int end_sequence(struct scan *scan)
{
	if (!scan)
		return 0;
	if (bears_state(scan->text))
		tell_sequence(scan, scan->length);
	__builtin_memset(scan->text, 0, SEQUENCE_LIMIT);
	scan->state = GROUND;
	return 0;
}

static __always_inline void begin_sequence(struct scan *scan)
{
	scan->state = OSC;
	scan->length = 0;
	__builtin_memset(scan->text, 0, SEQUENCE_LIMIT);
}

static __always_inline void add(struct scan *scan, __u8 byte)
{
	__u32 length = scan->length;

	if (length >= SEQUENCE_LIMIT)
		return;		/* cut; its end is still its own, and no bell */
	scan->text[length] = byte;
	scan->length = length + 1;
}

static __noinline int end_paste_mode(struct scan *scan, __u8 byte)
{
	if (!scan)
		return 0;
	scan->state = GROUND;
	if (byte != 'h' && byte != 'l')
		return 0;
	__builtin_memset(scan->text, 0, SEQUENCE_LIMIT);
	for (int i = 0; i < PASTE_MODE_BYTES; i++)
		scan->text[i] = PASTE_MODE >> (8 * i) & 0xff;
	scan->text[PASTE_MODE_BYTES] = byte;
	tell_sequence(scan, PASTE_MODE_BYTES + 1);
	__builtin_memset(scan->text, 0, SEQUENCE_LIMIT);
	return 0;
}

static __always_inline void begin_mode(struct scan *scan)
{
	scan->state = CSI;
	scan->length = 0;
}

/* How many bytes of its character follow one that is no part of another. */
static __always_inline __u8 utf8_follow(__u8 byte)
{
	if (byte < 0xc2 || byte > 0xf4)
		return 0;
	return byte < 0xe0 ? 1 : byte < 0xf0 ? 2 : 3;
}

/* Whether it goes on with a character; then it is no control, whatever it looks like. */
static __always_inline bool goes_on(struct scan *scan, __u8 byte)
{
	if (scan->utf8_left && (byte & 0xc0) == 0x80) {
		scan->utf8_left--;
		return true;
	}
	scan->utf8_left = utf8_follow(byte);
	return false;
}

static __always_inline void scan_byte(struct scan *scan, __u8 byte)
{
	if (!goes_on(scan, byte) && byte >= C1_CSI && byte <= C1_OSC) {
		if (byte == C1_OSC)
			begin_sequence(scan);
		else if (byte == C1_CSI)
			begin_mode(scan);
		else if (scan->state == OSC)
			end_sequence(scan);
		else
			scan->state = GROUND;
		return;
	}
	switch (scan->state) {
	case GROUND:
		if (byte == 0x1b)
			scan->state = ESCAPE;
		else if (byte == '\a')
			scan->has_bell = 1;
		break;
	case ESCAPE:
		if (byte == ']')
			begin_sequence(scan);
		else if (byte == '[')
			begin_mode(scan);
		else if (byte != 0x1b)
			scan->state = GROUND;
		break;
	case CSI:
		if (byte == 0x1b)
			scan->state = ESCAPE;
		else if (scan->length >= PASTE_MODE_BYTES)
			end_paste_mode(scan, byte);
		else if (byte == (PASTE_MODE >> (8 * (scan->length & 7)) & 0xff))
			scan->length++;
		else
			scan->state = GROUND;
		break;
	case OSC:
		if (byte == '\a')
			end_sequence(scan);
		else if (byte == 0x1b)
			scan->state = OSC_ESCAPE;
		else if (byte == 0x18 || byte == 0x1a)	/* CAN, SUB: abort */
			scan->state = GROUND;
		else
			add(scan, byte);
		break;
	default:
		/* tmux doubles every ESC that it passes through: stay here. */
		if (byte == '\\')
			end_sequence(scan);
		else if (byte == ']')
			begin_sequence(scan);
		else if (byte != 0x1b)
			scan->state = GROUND;
		break;
	}
}

#define ALL_BYTES 0x0101010101010101ULL

static __always_inline bool has_byte(__u64 word, __u8 byte)
{
	word ^= ALL_BYTES * byte;
	return (word - ALL_BYTES) & ~word & (ALL_BYTES << 7);
}

struct piece {
	struct scan *scan;
	__u32 bytes;
};

/* The same as `goes_on` byte by byte over a word without controls. */
static __always_inline void pass_over(struct scan *scan, __u64 word)
{
	__u8 last = word >> 56, second = word >> 48, third = word >> 40;

	scan->utf8_left = utf8_follow(last);
	if (!scan->utf8_left && second >= 0xe0)
		scan->utf8_left = utf8_follow(second) - 1;
	else if (!scan->utf8_left && third >= 0xf0)
		scan->utf8_left = utf8_follow(third) == 3;
}

/* Eight bytes at a time: text without a control is passed over whole. */
static long scan_word(__u32 index, struct piece *piece)
{
	struct scan *scan = piece->scan;
	__u32 at = index % (PIECE / 8) * 8;
	__u64 word = *(__u64 *)(scan->piece + at);

	if (scan->state == GROUND && !has_byte(word, 0x1b) && !has_byte(word, '\a') &&
	    !has_byte(word, C1_CSI) && !has_byte(word, C1_OSC)) {
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
	bpf_loop((bytes + 7) / 8, scan_word, &piece, 0);
	return 0;
}

/* Says when much was put out within a slot. */
static __always_inline void count_drawn(struct scan *scan, __u64 bytes)
{
	__u64 slot = bpf_ktime_get_boot_ns() / OUTPUT_SLOT_NS;
	struct redraw_event *event;
	__u32 before = slot == scan->slot ? scan->drawn : 0;

	scan->slot = slot;
	scan->drawn = before + bytes;
	if (before >= REDRAW_BYTES || scan->drawn < REDRAW_BYTES)
		return;
	event = RESERVE(struct redraw_event, EVENT_REDRAW);
	if (!event)
		return;		/* a look follows; redraws are the least of all evidence */
	event->header.terminal = scan->terminal;
	event->bytes = scan->drawn;
	bpf_ringbuf_submit(event, 0);
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
