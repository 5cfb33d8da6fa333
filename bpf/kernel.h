/* SPDX-License-Identifier: MIT */
/*
 * The kernel's types, with only the fields that we read. CO-RE finds out at
 * load where they really lie, so order and neighbours do not matter here.
 * Names that end in ___WORD are older or newer shapes of the same type.
 */
#ifndef AI_MONITOR_KERNEL_H
#define AI_MONITOR_KERNEL_H

#include "types.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct list_head {
	struct list_head *next;
};

struct wait_queue_head {
	struct list_head head;
};

struct wait_queue_entry {
	void *private;
	struct list_head entry;
};

struct work_struct {
	void *func;
};

struct pool_workqueue;

struct upid {
	int nr;
};

struct pid {
	struct upid numbers[1];
};

typedef struct {
	__u32 val;
} kuid_t;

struct cred {
	kuid_t uid;
	kuid_t euid;
};

struct qstr {
	const unsigned char *name;
};

struct dentry {
	struct qstr d_name;
};

struct path {
	struct dentry *dentry;
};

struct inode {
	__u32 i_rdev;
};

struct file {
	struct path f_path;
	struct inode *f_inode;
	void *private_data;
};

struct mm_struct {
	struct file *exe_file;
};

struct linux_binprm {
	struct file *file;
};

typedef struct {
	int counter;
} atomic_t;

struct tty_struct;

struct signal_struct {
	atomic_t live;
	struct tty_struct *tty;
};

struct task_struct {
	int pid;
	int tgid;
	__u64 start_boottime;
	struct task_struct *group_leader;
	struct task_struct *real_parent;
	struct signal_struct *signal;
	const struct cred *cred;
	struct mm_struct *mm;
	char comm[16];
};

/* drivers/tty: a pty is two tty_structs, linked, each with a port of its own. */
struct tty_buffer {
	struct tty_buffer *next;
	__u32 commit;
	__u32 read;
	__u8 data[0];
};

struct tty_bufhead {
	struct tty_buffer *head;
	struct work_struct work;
};

struct tty_port {
	struct tty_bufhead buf;
	struct tty_struct *itty;
};

struct tty_driver {
	int major;
	int minor_start;
};

struct ktermios {
	__u32 c_lflag;
};

struct tty_struct {
	int index;
	struct tty_driver *driver;
	struct tty_port *port;
	struct ktermios termios;
	struct {
		struct pid *session;
	} ctrl;
	struct tty_struct *link;
	struct wait_queue_head read_wait;
	void *disc_data;
};

/* Before 5.15 the session was a field of the tty_struct itself. */
struct tty_struct___pre515 {
	struct pid *session;
};

struct n_tty_data {
	unsigned long read_head;
	__u8 read_buf[4096];
};

struct tty_file_private {
	struct tty_struct *tty;
};

/* fs/select.c and include/linux/poll.h */
struct poll_wqueues {
	struct task_struct *polling_task;
};

struct poll_table_entry {
	struct wait_queue_entry wait;
	struct wait_queue_head *wait_address;
};

/* fs/eventpoll.c */
struct eventpoll {
	struct wait_queue_head wq;
};

struct epitem {
	struct eventpoll *ep;
};

struct eppoll_entry {
	struct epitem *base;
	struct wait_queue_entry wait;
	struct wait_queue_head *whead;
};

/* io_uring/poll.h */
struct io_poll {
	struct wait_queue_head *head;
	struct wait_queue_entry wait;
};

struct io_uring_task {
	struct task_struct *task;
};

struct io_kiocb {
	struct io_uring_task *tctx;
};

/* Before 6.13 a request named its task itself. */
struct io_kiocb___pre613 {
	struct task_struct *task;
};

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
};

struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	__u32 fd;
	struct file *file;
};

#pragma clang attribute pop

#endif
