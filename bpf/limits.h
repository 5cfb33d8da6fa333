/* SPDX-License-Identifier: MIT */
/* The sizes of the maps and the length of a slot, the same for both probes. */
#ifndef AI_MONITOR_LIMITS_H
#define AI_MONITOR_LIMITS_H

enum {
	MAX_SESSIONS = 2048,
	MAX_CHILDREN = 8192,
	MAX_NAMES = 256,
	RING_BYTES = 256 * 1024,
};

/* User space is told of a writer, and of a redraw, once in each slot. */
enum { OUTPUT_SLOT_NS = 125 * 1000 * 1000 };

/*
 * Who was told of so often, never more than so many slots apart, is known to
 * move: more than core's density asks.
 */
enum { GATHERED_AFTER = 24, ROW_GAP_SLOTS = 2 };

/* How often in a row, with this slot. */
static __always_inline __u64 next_row(__u64 row, __u64 told_slot, __u64 slot)
{
	return slot - told_slot <= ROW_GAP_SLOTS ? row + 1 : 0;
}

#endif
