/* SPDX-License-Identifier: MIT */
/* The lives of agents' processes and of their direct children. */

/*
 * The processes that user space took for agents: tgid to start time. This is
 * the one map that user space writes, and an entry of another user's process
 * has no effect.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_SESSIONS);
	__type(key, __u32);
	__type(value, __u64);
} watched SEC(".maps");

static __always_inline __u64 started_at(struct task_struct *task)
{
	return BPF_CORE_READ(task, group_leader, start_boottime);
}

/* By the name of its main thread or of its program file. */
static __always_inline bool is_named(struct task_struct *task, struct file *program)
{
	return is_name_of_interest(&task->comm) ||
	       is_name_of_interest(BPF_CORE_READ(program, f_path.dentry, d_name.name));
}

static __always_inline int tell_process(enum event_kind kind, struct task_struct *task,
					__u32 parent_tgid)
{
	struct process_event *event = RESERVE(struct process_event, kind);

	if (!event)
		return 0;
	event->started_at_ns = started_at(task);
	event->tgid = task->tgid;
	event->parent_tgid = parent_tgid;
	bpf_probe_read_kernel(event->comm, sizeof(event->comm), &task->comm);
	submit(event);
	return 0;
}

/* Takes one session off a port; true when the port is not watched any more. */
static __always_inline bool release_port(__u64 key, __u32 terminal)
{
	struct port *port = bpf_map_lookup_elem(&ports, &key);

	/* Its memory may carry another terminal by now, which is not ours to release. */
	if (!port || port->terminal != terminal)
		return true;
	if (port->users > 1) {
		port->users--;
		return false;
	}
	bpf_map_delete_elem(&ports, &key);
	return true;
}

/* Forgets a process's terminal, and the terminal itself with its last process. */
static __noinline int release_session(__u32 tgid)
{
	struct session *session = bpf_map_lookup_elem(&sessions, &tgid);
	__u32 terminal;

	if (!session)
		return 0;
	terminal = session->terminal;
	release_port(session->input_work, terminal);
	if (release_port(session->output_work, terminal)) {
		bpf_map_delete_elem(&scans, &terminal);
		bpf_map_delete_elem(&typings, &terminal);
	}
	bpf_map_delete_elem(&sessions, &tgid);
	return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *task, int old_pid, struct linux_binprm *program)
{
	__u32 tgid = task->tgid;

	if (!is_watched_user(task))
		return 0;
	if (!bpf_map_lookup_elem(&watched, &tgid) && !is_named(task, program->file))
		return 0;
	return tell_process(EVENT_EXEC, task, BPF_CORE_READ(task, real_parent, tgid));
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(on_fork, struct task_struct *parent, struct task_struct *child)
{
	__u32 parent_tgid = parent->tgid, tgid = child->tgid;

	/* A new thread has the tgid of its process. */
	if (child->pid != child->tgid || !bpf_map_lookup_elem(&watched, &parent_tgid))
		return 0;
	if (!is_watched_user(child))
		return 0;
	if (bpf_map_update_elem(&children, &tgid, &parent_tgid, BPF_ANY)) {
		/* Its exit would not be told: a child that never ends misleads more. */
		__sync_fetch_and_add(&refused_children, 1);
		return 0;
	}
	return tell_process(EVENT_FORK, child, parent_tgid);
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *task)
{
	__u32 tgid = task->tgid, parent_tgid = 0, *parent;

	/*
	 * The last thread takes the process with it. After an exec from a
	 * thread the old leader exits first, with `live` still above 0.
	 */
	if (BPF_CORE_READ(task, signal, live.counter) != 0 || !is_watched_user(task))
		return 0;
	parent = bpf_map_lookup_elem(&children, &tgid);
	if (parent)
		parent_tgid = *parent;
	else if (!bpf_map_lookup_elem(&watched, &tgid))
		return 0;
	tell_process(EVENT_EXIT, task, parent_tgid);
	release_session(tgid);
	bpf_map_delete_elem(&watched, &tgid);
	bpf_map_delete_elem(&children, &tgid);
	return 0;
}
