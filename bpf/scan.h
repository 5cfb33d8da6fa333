/* SPDX-License-Identifier: MIT */
/*
 * Finds the state-bearing sequences in a terminal's output, byte by byte, and
 * counts what is put out. Both probes do so; where the bytes come from, and how
 * user space is told, is their own.
 */

enum {
	PIECE = 256,		/* bytes copied and scanned in one go */
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
	__u64 seen;		/* offset of the next byte to scan; the tty probe's */
	__u64 last_head;	/* the tty probe's */
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

static __always_inline void lose(struct scan *scan, __u64 bytes)
{
	scan->unseen += bytes;
	scan->has_gap = 1;
	scan->state = GROUND;
}

/* Told by the probe that includes this; the text is `scan->text`. */
static __noinline int tell_sequence(struct scan *scan, __u32 length);

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

/* No character of more than a byte, and nothing that means something in a text. */
static __always_inline bool is_plain(__u64 word)
{
	return !(word & ALL_BYTES << 7) && !has_byte(word, 0x1b) && !has_byte(word, '\a');
}

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

/* Whether this word goes on with text and nothing else. */
static __always_inline bool is_text(struct scan *scan, __u64 word)
{
	return scan->state == GROUND && !has_byte(word, 0x1b) && !has_byte(word, '\a') &&
	       !has_byte(word, C1_CSI) && !has_byte(word, C1_OSC);
}

/* Counts what was put out; true once in a slot, when it became much. */
static __always_inline bool becomes_much(struct scan *scan, __u64 bytes)
{
	__u64 slot = now_ns() / OUTPUT_SLOT_NS;
	__u32 before = slot == scan->slot ? scan->drawn : 0;

	scan->slot = slot;
	scan->drawn = before + bytes;
	return before < REDRAW_BYTES && scan->drawn >= REDRAW_BYTES;
}
