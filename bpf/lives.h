/* SPDX-License-Identifier: MIT */
/* What both probes know of processes: which names tell, whose child is whose. */

struct name {
	char text[16];
};

/* Program names of interest, cut at 15 bytes. Frozen once it is filled. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_NAMES);
	__type(key, struct name);
	__type(value, __u32);
} names SEC(".maps");

/* Direct children of watched processes: tgid to the parent's. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_CHILDREN);
	__uint(map_flags, BPF_F_RDONLY);
	__type(key, __u32);
	__type(value, __u32);
} children SEC(".maps");

static __always_inline bool is_name_of_interest(const void *text)
{
	struct name name = {};

	if (bpf_probe_read_kernel_str(name.text, sizeof(name.text), text) <= 0)
		return false;
	return bpf_map_lookup_elem(&names, &name);
}
