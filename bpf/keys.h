/* SPDX-License-Identifier: MIT */
/* What kind of keys were pressed. Which ones they were stays here. */

/* How far the input was looked at. Closed to user space as `scans` is. */
struct typing {
	__u64 buffer;		/* address of the tty_buffer */
	__u32 read;		/* offset in it */
	__u8 before[2];		/* the last two bytes, for a sequence cut in two */
	__u16 reserved;
	__u8 piece[PIECE];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_SESSIONS);
	__uint(map_flags, BPF_F_WRONLY);
	__type(key, __u32);
	__type(value, struct typing);
} typings SEC(".maps");

static const struct typing empty_typing = {};

/* The classes that end with this byte. */
static __always_inline __u32 classes_of(struct typing *typing, __u8 byte)
{
	__u32 classes = 0;

	if (byte == '\r' || byte == '\n')
		classes |= INPUT_ENTER;
	else if (byte == 3)
		classes |= INPUT_INTERRUPT;
	if (typing->before[0] == 0x1b && typing->before[1] == '[') {
		if (byte == 'I')
			classes |= INPUT_FOCUS_IN;
		else if (byte == 'O')
			classes |= INPUT_FOCUS_OUT;
	}
	typing->before[0] = typing->before[1];
	typing->before[1] = byte;
	return classes;
}

static __always_inline bool is_lone_escape(struct typing *typing, __u32 bytes)
{
	return bytes == 1 && typing->before[1] == 0x1b;
}
