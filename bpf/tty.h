/* SPDX-License-Identifier: MIT */
/*
 * The edge of a terminal. A write to a pty puts bytes into the peer's port
 * and queues flush_to_ldisc(), in the writer's context. Only watched ports
 * are looked at; an unwatched write costs one comparison.
 */

static __always_inline int tell_input(__u32 terminal, __u32 bytes, __u32 classes)
{
	struct input_event *event = RESERVE(struct input_event, EVENT_INPUT);

	if (!event)
		return 0;
	event->header.terminal = terminal;
	event->bytes = bytes;
	event->classes = classes;
	submit(event);
	return 0;
}

SEC("tp_btf/workqueue_queue_work")
int BPF_PROG(on_queue_work, int cpu, struct pool_workqueue *pool, struct work_struct *work)
{
	struct port *port = find_port(work, (__u64)work->func, flush_work);
	struct output_event *event;
	struct session *session;
	__u64 now, slot;

	if (!port)
		return 0;
	if (port->direction == PORT_INPUT)
		return sees_content ? 0 : tell_input(port->terminal, 0, 0);
	session = find_writer(port);
	if (!session)
		return 0;
	now = bpf_ktime_get_boot_ns();
	slot = now / OUTPUT_SLOT_NS + 1;	/* never 0, the value of none */
	session->last_output_ns = now;
	if (session->told_slot == slot)
		return 0;
	event = RESERVE(struct output_event, EVENT_OUTPUT);
	if (!event)
		return 0;	/* the next write tells */
	session->row = next_row(session->row, session->told_slot, slot);
	session->told_slot = slot;
	event->header.at_ns = now;
	event->header.terminal = port->terminal;
	event->started_at_ns = session->started_at_ns;
	event->tgid = bpf_get_current_pid_tgid() >> 32;
	event->reserved = 0;
	event->last_output_ns = now;
	/* That a picture still moves is no news: whoever wakes next reads it. */
	if (session->row >= GATHERED_AFTER)
		bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
	else
		submit(event);
	return 0;
}

struct keys {
	struct typing *typing;
	struct tty_buffer *buffer;
	__u32 read;
	__u32 bytes;
	__u32 classes;
	__u32 in_piece;
};

static long classify(__u32 index, struct keys *keys)
{
	keys->classes |= classes_of(keys->typing, keys->typing->piece[index % PIECE]);
	return 0;
}

static long walk_keys(__u32 index, struct keys *keys)
{
	struct tty_buffer *buffer = keys->buffer;
	struct tty_buffer *next = BPF_CORE_READ(buffer, next);
	__u32 commit = BPF_CORE_READ(buffer, commit);
	__u64 bytes = commit - keys->read;

	if (keys->read < commit) {
		asm volatile("" : "+r"(bytes));
		if (bytes > PIECE)
			bytes = PIECE;
		if (bpf_probe_read_kernel(keys->typing->piece, bytes,
					  (void *)buffer + keys->read +
					  bpf_core_field_offset(struct tty_buffer, data)))
			return 1;
		bpf_loop(bytes, classify, keys, 0);
		keys->read += bytes;
		keys->bytes += bytes;
		return 0;
	}
	if (!next)
		return 1;
	keys->buffer = next;
	keys->read = 0;
	return 0;
}

struct reach {
	struct tty_buffer *buffer;
	__u64 wanted;
	__u32 is_found;
};

static long find_buffer(__u32 index, struct reach *reach)
{
	struct tty_buffer *buffer = reach->buffer;

	if (!buffer)
		return 1;
	if ((__u64)buffer == reach->wanted) {
		reach->is_found = 1;
		return 1;
	}
	reach->buffer = BPF_CORE_READ(buffer, next);
	return 0;
}

/*
 * Keys that came while a flush ran were taken by it, between two looks: the
 * kernel wipes them from the buffer, but they are the newest in the read_buf.
 */
static __always_inline void classify_taken(struct tty_port *port, struct keys *keys, __u64 bytes)
{
	struct n_tty_data *discipline = BPF_CORE_READ(port, itty, disc_data);
	__u64 end = BPF_CORE_READ(discipline, read_head);
	__u32 size = read_buf_bytes(), position = (end - bytes) & (size - 1);

	if (bytes > size - position)
		bytes = size - position;	/* the rest wraps around; keys rarely do */
	asm volatile("" : "+r"(bytes));
	if (bytes > PIECE)
		bytes = PIECE;
	if (bpf_probe_read_kernel(keys->typing->piece, bytes,
				  (void *)discipline + position +
				  bpf_core_field_offset(struct n_tty_data, read_buf)))
		return;
	bpf_loop(bytes, classify, keys, 0);
	keys->bytes += bytes;
}

/*
 * Keys are few and only their kind matters, so the position is simply where
 * the last look stopped, as long as that buffer is still in use.
 */
static __noinline int look_at_input(struct work_struct *work, struct port *known)
{
	struct tty_port *port = port_of(work);
	struct tty_buffer *head;
	struct reach reach = {};
	struct typing *typing;
	struct keys keys = {};
	__u64 taken = 0;
	__u32 terminal;

	if (!known)
		return 0;
	terminal = known->terminal;
	typing = bpf_map_lookup_elem(&typings, &terminal);
	if (!typing) {
		bpf_map_update_elem(&typings, &terminal, &empty_typing, BPF_ANY);
		typing = bpf_map_lookup_elem(&typings, &terminal);
		if (!typing)
			return 0;
	}
	keys.typing = typing;
	head = BPF_CORE_READ(port, buf.head);
	keys.buffer = head;
	keys.read = BPF_CORE_READ(head, read);
	reach.buffer = head;
	reach.wanted = typing->buffer;
	bpf_loop(64, find_buffer, &reach, 0);
	if (reach.is_found && reach.wanted != (__u64)head) {
		keys.buffer = (void *)typing->buffer;
		keys.read = typing->read;
	} else if (reach.is_found && typing->read <= BPF_CORE_READ(head, commit)) {
		if (typing->read < keys.read)
			taken = keys.read - typing->read;
		else
			keys.read = typing->read;
	} else if (typing->buffer) {
		/* The flush went on to a buffer that nobody had looked at. */
		taken = keys.read;
	}
	if (taken)
		classify_taken(port, &keys, taken);
	bpf_loop(CHAIN_STEPS, walk_keys, &keys, 0);
	typing->buffer = (__u64)keys.buffer;
	typing->read = keys.read;
	if (!keys.bytes)
		return 0;
	if (is_lone_escape(typing, keys.bytes))
		keys.classes |= INPUT_ESCAPE;
	__builtin_memset(typing->piece, 0, PIECE);

	return tell_input(terminal, keys.bytes, keys.classes);
}

static __always_inline int look_at(struct work_struct *work, __u64 function)
{
	struct port *port = find_port(work, function, flush_work);

	if (!port)
		return 0;
	if (port->direction == PORT_OUTPUT)
		return look_at_output(work, port);
	return look_at_input(work, port);
}

SEC("tp_btf/workqueue_execute_start")
int BPF_PROG(on_execute_start, struct work_struct *work)
{
	return look_at(work, (__u64)work->func);
}

SEC("tp_btf/workqueue_execute_end")
int BPF_PROG(on_execute_end, struct work_struct *work)
{
	/* By a read that may fail: the tracepoint's own argument is a function's
	 * address, which the verifier lets nobody read. */
	return look_at(work, (__u64)BPF_CORE_READ(work, func));
}
