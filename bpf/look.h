/* SPDX-License-Identifier: MIT */
/*
 * Iterators: user space reads them when it wants the truth of this moment.
 * They put the terminals of watched processes under watch, since here they
 * are seen alive and their owner is known.
 */

enum {
	MAX_WAITS = 16,		/* entries looked at on one wait queue */
	ICANON_FLAG = 2,	/* ICANON in c_lflag, the same on all architectures but alpha, powerpc */
	PTMX_RDEV = 5 << 20 | 2,
};

__u32 last_terminal = 0;

/* Agents that run already: by name, as on_exec finds the new ones. */
SEC("iter/task")
int find_agents(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct process_event found = {};

	if (!task || task->pid != task->tgid || !is_watched_user(task))
		return 0;
	if (!is_named(task, BPF_CORE_READ(task, mm, exe_file)))
		return 0;
	found.header.at_ns = bpf_ktime_get_boot_ns();
	found.header.kind = EVENT_EXEC;
	found.started_at_ns = started_at(task);
	found.tgid = task->tgid;
	found.parent_tgid = BPF_CORE_READ(task, real_parent, tgid);
	bpf_probe_read_kernel(found.comm, sizeof(found.comm), &task->comm);
	bpf_seq_write(ctx->meta->seq, &found, sizeof(found));
	return 0;
}

static __always_inline __u64 work_of(struct tty_port *port)
{
	return port ? (__u64)port + bpf_core_field_offset(struct tty_port, buf.work) : 0;
}

/* Puts a port under watch, or adds a user; returns its terminal. */
static __always_inline __u32 watch_port(__u64 work, struct port *wanted)
{
	struct port *port = bpf_map_lookup_elem(&ports, &work);

	if (port && port->tty == wanted->tty && port->session == wanted->session) {
		port->users++;
		return port->terminal;
	}
	if (!wanted->terminal)
		wanted->terminal = ++last_terminal;
	wanted->users = 1;
	if (bpf_map_update_elem(&ports, &work, wanted, BPF_ANY))
		__sync_fetch_and_add(&refused_terminals, 1);
	return wanted->terminal;
}

/* Makes the session's watched ports those of this terminal, which may have changed. */
static __noinline int watch_terminal(struct tty_struct *tty, __u32 tgid, __u64 started_at_ns)
{
	struct session *known = bpf_map_lookup_elem(&sessions, &tgid);
	struct session session = { .started_at_ns = started_at_ns };
	struct tty_struct *master = BPF_CORE_READ(tty, link);
	struct port wanted = { .tty = (__u64)tty, .session = session_of(tty) };

	if (!master)
		return 0;	/* a console: its traffic does not show here */
	session.output_work = work_of(BPF_CORE_READ(master, port));
	session.input_work = work_of(BPF_CORE_READ(tty, port));
	if (known && known->output_work == session.output_work &&
	    known->started_at_ns == started_at_ns &&
	    bpf_map_lookup_elem(&ports, &known->output_work))
		return known->terminal;
	release_session(tgid);
	wanted.direction = PORT_OUTPUT;
	session.terminal = watch_port(session.output_work, &wanted);
	wanted.terminal = session.terminal;
	wanted.direction = PORT_INPUT;
	watch_port(session.input_work, &wanted);
	if (bpf_map_update_elem(&sessions, &tgid, &session, BPF_ANY))
		__sync_fetch_and_add(&refused_terminals, 1);
	flush_work = (__u64)BPF_CORE_READ(master, port, buf.work.func);
	return session.terminal;
}

/*
 * Which way this entry of a terminal's wait queue holds this thread. Every
 * kind keeps a pointer to the queue beside its entry, which tells them apart
 * without the addresses of their wake-up functions.
 */
static __always_inline enum wait_kind kind_of_wait(struct wait_queue_entry *entry,
						   struct wait_queue_head *queue,
						   struct task_struct *task)
{
	void *private = BPF_CORE_READ(entry, private);
	struct poll_table_entry *poll =
		(void *)entry - bpf_core_field_offset(struct poll_table_entry, wait);
	struct eppoll_entry *epoll = (void *)entry - bpf_core_field_offset(struct eppoll_entry, wait);
	struct io_poll *io = (void *)entry - bpf_core_field_offset(struct io_poll, wait);

	if (private == task)
		return WAIT_READ;
	if (private && BPF_CORE_READ(poll, wait_address) == queue)
		return BPF_CORE_READ((struct poll_wqueues *)private, polling_task) == task ?
		       WAIT_POLL : WAIT_NONE;
	if (!private && BPF_CORE_READ(epoll, whead) == queue) {
		struct eventpoll *set = BPF_CORE_READ(epoll, base, ep);
		struct list_head *end =
			(void *)set + bpf_core_field_offset(struct eventpoll, wq.head);
		struct list_head *at = BPF_CORE_READ(end, next);

		for (int i = 0; i < 4 && at && at != end; i++) {
			struct wait_queue_entry *waiter =
				(void *)at - bpf_core_field_offset(struct wait_queue_entry, entry);

			if (BPF_CORE_READ(waiter, private) == task)
				return WAIT_EPOLL;
			at = BPF_CORE_READ(at, next);
		}
		return WAIT_NONE;
	}
	if (private && bpf_core_type_exists(struct io_poll) && BPF_CORE_READ(io, head) == queue) {
		/* The lowest bits are flags. */
		struct io_kiocb *request = (void *)((__u64)private & ~7ULL);
		struct task_struct *owner;

		if (bpf_core_field_exists(request->tctx))
			owner = BPF_CORE_READ(request, tctx, task);
		else
			owner = BPF_CORE_READ((struct io_kiocb___pre613 *)request, task);
		return owner == task ? WAIT_IO_URING : WAIT_NONE;
	}
	return WAIT_NONE;
}

/* The truth about watched processes: their terminal, and what waits for its input. */
SEC("iter/task")
int look(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct wait_queue_head *queue;
	struct look_record record = {};
	struct list_head *end, *at;
	struct session *session;
	struct tty_struct *tty;
	__u64 *started;
	__u32 tgid;

	if (!task)
		return 0;
	tgid = task->tgid;
	started = bpf_map_lookup_elem(&watched, &tgid);
	if (!started || *started != started_at(task) || !is_watched_user(task))
		return 0;
	if (BPF_CORE_READ(task, signal, live.counter) == 0)
		return 0;	/* a zombie */
	record.started_at_ns = *started;
	record.tgid = tgid;
	tty = BPF_CORE_READ(task, signal, tty);
	if (tty) {
		record.tty_major = BPF_CORE_READ(tty, driver, major);
		record.tty_minor = BPF_CORE_READ(tty, driver, minor_start) + BPF_CORE_READ(tty, index);
		record.is_canonical = !!(BPF_CORE_READ(tty, termios.c_lflag) & ICANON_FLAG);
	}
	if (task->pid == task->tgid) {
		if (tty)
			record.terminal = watch_terminal(tty, tgid, *started);
		else
			release_session(tgid);
		session = bpf_map_lookup_elem(&sessions, &tgid);
		if (session)
			record.last_output_ns = session->last_output_ns;
		bpf_seq_write(ctx->meta->seq, &record, sizeof(record));
	}
	if (!tty)
		return 0;
	queue = (void *)tty + bpf_core_field_offset(struct tty_struct, read_wait);
	end = (void *)queue + bpf_core_field_offset(struct wait_queue_head, head);
	at = BPF_CORE_READ(end, next);
	for (int i = 0; i < MAX_WAITS && at && at != end; i++) {
		record.wait = kind_of_wait(
			(void *)at - bpf_core_field_offset(struct wait_queue_entry, entry), queue, task);
		if (record.wait != WAIT_NONE)
			bpf_seq_write(ctx->meta->seq, &record, sizeof(record));
		at = BPF_CORE_READ(at, next);
	}
	return 0;
}

/* Who holds the masters of watched terminals: the terminal emulator, tmux, sshd ... */
SEC("iter/task_file")
int find_owners(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct owner_record found = {};
	struct file *file = ctx->file;
	struct tty_file_private *opened;
	struct tty_struct *slave;
	struct port *port;
	__u64 work;

	if (!task || !file || BPF_CORE_READ(file, f_inode, i_rdev) != PTMX_RDEV)
		return 0;
	opened = BPF_CORE_READ(file, private_data);
	slave = BPF_CORE_READ(opened, tty, link);
	work = work_of(BPF_CORE_READ(slave, port));
	port = bpf_map_lookup_elem(&ports, &work);
	if (!port || port->tty != (__u64)slave)
		return 0;
	found.started_at_ns = started_at(task);
	found.tgid = task->tgid;
	found.terminal = port->terminal;
	bpf_probe_read_kernel(found.comm, sizeof(found.comm), &task->comm);
	bpf_seq_write(ctx->meta->seq, &found, sizeof(found));
	return 0;
}
